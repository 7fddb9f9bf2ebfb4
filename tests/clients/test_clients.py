"""The clients in other languages, by the commands of `docs/clients.md`, against a real platform.

Each builds its stubs from what `eventspine contract export` has written, as a team would, runs its
example, and runs its own tests, which start, kill and restart a platform. A language whose tools
are not here is skipped, with the reason.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer

import pytest

from tests.guide import blocks, commands
from tests.journey.command_line import EVENTSPINE, Dev, settings

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "clients.md").read_text()
ADDRESS = "127.0.0.1:7070"
SECONDS_MAX = 600
EXAMPLE_SECONDS = 120

pytestmark = [pytest.mark.clients, pytest.mark.timeout(SECONDS_MAX)]


def section(heading: str) -> str:
    """Returns the text of a section of the guide."""
    (text,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", GUIDE, re.DOTALL | re.MULTILINE)
    return str(text)


@pytest.fixture(scope="module")
def dev() -> Iterator[Dev]:
    platform = Dev()
    yield platform
    platform.stop(signal.SIGTERM)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the clients, beside the contract as the guide exports it."""
    folder = tmp_path_factory.mktemp("cloned")
    built = shutil.ignore_patterns("gen", "node_modules", "dist", "target", "contract")
    shutil.copytree(ROOT / "clients", folder / "clients", ignore=built)
    start, export = commands(section("Get the contract, and a platform to talk to"))
    assert start == "eventspine dev"
    run(export, cwd=folder, needs="eventspine")
    return folder / "clients"


def run(command: str, *, cwd: Path, needs: str, fetches: bool = False) -> str:
    """Runs a line as a shell does; skips the test where a language's tools are not here.

    A step that only fetches packages skips it too where they cannot be had.
    """
    scripts = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    if shutil.which(needs, path=scripts) is None:
        pytest.skip(f"no {needs} here: its client was not built")
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=settings(PATH=scripts, EVENTSPINE=str(EVENTSPINE)),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    if fetches and done.returncode:
        pytest.skip(f"{command} cannot fetch packages here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return done.stdout


def follow(heading: str, clients: Path, dev: Dev, *, needs: str) -> dict[str, str]:
    """Runs the commands of a section; returns what each has printed."""
    told = {}
    for command in commands(section(heading)):
        if ADDRESS in command:
            watch(command.replace(ADDRESS, dev.address), clients.parent)
        else:
            told[command] = run(command, cwd=clients.parent, needs=needs)
    return told


def watch(command: str, cwd: Path) -> None:
    """Runs an example, which goes on until it is stopped, until it prints its own deposit."""
    example = subprocess.Popen(
        ["bash", "-c", command],
        cwd=cwd,
        env=settings(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = Timer(EXAMPLE_SECONDS, os.killpg, (example.pid, signal.SIGKILL))
    limit.start()
    try:
        assert example.stdout is not None
        deposited = re.compile(r"^account/\S+ 2 bank\.v1\.MoneyDeposited$")
        assert any(deposited.match(line) for line in example.stdout), f"{command} told nothing"
    finally:
        limit.cancel()
        with suppress(ProcessLookupError):
            os.killpg(example.pid, signal.SIGTERM)
        example.communicate()


def test_the_client_in_go_is_built_and_passes_its_tests(clients: Path, dev: Dev) -> None:
    folder = clients / "go"
    run("go mod download", cwd=folder, needs="go", fetches=True)
    follow("Go", clients, dev, needs="go")
    assert run("gofmt -l eventspine example", cwd=folder, needs="gofmt") == ""
    run("go vet ./...", cwd=folder, needs="go")
    told = run("go test -count=1 -v ./eventspine", cwd=folder, needs="go")
    assert told.count("--- PASS: Test") > 150
    assert "--- SKIP" not in told


def test_the_client_in_typescript_is_built_and_passes_its_tests(clients: Path, dev: Dev) -> None:
    run("npm ci --no-audit --no-fund", cwd=clients / "node", needs="npm", fetches=True)
    *_, tested = follow("TypeScript", clients, dev, needs="npm").values()
    assert "# fail 0" in tested
    assert "# skipped 0" in tested


def test_the_client_in_java_is_built_and_passes_its_tests(clients: Path, dev: Dev) -> None:
    run("mvn -B dependency:resolve-plugins", cwd=clients / "java", needs="mvn", fetches=True)
    *_, tested = follow("Java", clients, dev, needs="mvn").values()
    assert "Failures: 0, Errors: 0, Skipped: 0" in tested
    assert "BUILD SUCCESS" in tested


def test_the_program_in_python_prints_what_its_commands_have_stored(dev: Dev) -> None:
    (program,) = blocks(section("Python"), "python")
    assert ADDRESS in program
    client = subprocess.Popen(
        [sys.executable, "-u", "-c", program.replace(ADDRESS, dev.address)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert client.stdout is not None
        zoe = (line for line in client.stdout if "/zoe" in line)
        told = [next(zoe, ""), next(zoe, "")]
    finally:
        client.kill()
        client.communicate()
    assert told == [
        "account/zoe 1 bank.v1.AccountOpened\n",
        "account/zoe 2 bank.v1.MoneyDeposited\n",
    ]
