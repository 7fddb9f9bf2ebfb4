"""`python -m devstack.stack`: what is called wrongly or missing is told before anything starts."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from devstack.stack.home import Home

ROOT = Path(__file__).parents[2]
GENEROUS_SECONDS = 60


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Running = Callable[..., Ran]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Runs the command with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: object, **environment: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "devstack.stack", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=GENEROUS_SECONDS,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


WRONG = (
    (["--nodes", 2], "2 Cassandra nodes cannot be started; choose 1 or 3"),
    (["--nodes", 0], "at least one Cassandra node"),
    (["--brokers", 5], "5 Kafka brokers cannot be started; choose 1 or 3"),
    (["--command-services", 0], "0 processes of command_svc cannot run; choose 1 to 20"),
    (["--processors", 21], "21 processes of processor_svc cannot run; choose 1 to 20"),
    (["--commitlog-sync", "never"], "invalid choice: 'never'"),
    (["--address", "7070"], "'7070' is no address; write host:port"),
    (["--domain", "nowhere.domain:SHOP"], "cannot import 'nowhere.domain'"),
)


@pytest.mark.parametrize(("arguments", "told"), WRONG, ids=[str(wrong[0]) for wrong in WRONG])
def test_what_is_called_wrongly_is_told_and_nothing_is_started(
    stack: Running, tmp_path: Path, arguments: list[object], told: str
) -> None:
    ran = stack("up", "--address", "127.0.0.1:0", *arguments)
    assert ran.code == 2
    assert told in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "cache").exists()


def test_an_address_that_is_taken_is_told_before_anything_starts(stack: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
        ran = stack("up", "--address", address)
    assert ran.code == 4
    assert f"the load balancer cannot listen on {address}" in ran.err


def test_a_missing_maven_is_told_before_anything_starts(stack: Running, tmp_path: Path) -> None:
    java = tmp_path / "jre" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
    java.chmod(0o755)
    ran = stack("up", "--address", "127.0.0.1:0", PATH="/nowhere", JAVA_HOME=str(tmp_path / "jre"))
    assert ran.code == 4
    assert "stack: cassandra 5.0.8 is not in" in ran.err
    assert "install Maven" in ran.err


def test_a_state_that_another_process_owns_is_told(stack: Running, tmp_path: Path) -> None:
    home = Home.open(tmp_path / "kept")
    try:
        ran = stack("down")
        assert f"is run by process {os.getpid()}, which is well" in ran.out
    finally:
        home.close()
    assert stack("down").out == "nothing was left behind\n"
    assert stack("down", "--state", tmp_path / "other").code == 4
