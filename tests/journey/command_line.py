"""Runs the command line for tests: within this process, which is quick, or as a process."""

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devstack.cli.main import main

EVENTSPINE = Path(sysconfig.get_path("scripts")) / "eventspine"
ALICE = '{"account_id": "alice", "owner": "Alice"}'


class Ran(NamedTuple):
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it printed, as one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """The command line, talking to one platform."""

    def __init__(self, address: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.address = address
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Ran:
        """Runs the command line in this process."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ran(code, out, err)

    def at(self, *arguments: str | Path) -> Ran:
        """Runs the command line in this process, with the platform's address."""
        return self(*arguments, "--address", self.address)


class Dev:
    """A process that runs `eventspine dev`, with the lines that it printed when it was ready."""

    def __init__(
        self, *arguments: str | Path, cwd: Path | None = None, program: Path = EVENTSPINE
    ) -> None:
        """Starts it on a free port unless told otherwise, and waits until it is ready."""
        self.process = subprocess.Popen(
            [program, "dev", *arguments],
            cwd=cwd,
            env=settings(EVENTSPINE_ADDRESS="127.0.0.1:0"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("ready"):
                break
        else:
            raise AssertionError("\n".join(self.lines))
        self.address = self.lines[0].split()[3]

    def stop(self, number: int) -> Ran:
        """Sends a signal; returns how it ended, with what it printed since it was ready."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=15)
        return Ran(self.process.returncode, out, "")


def settings(**more: str) -> dict[str, str]:
    """Returns this process's environment without what belongs to the test run, and with more."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "EVENTSPINE_"))}
    return {**kept, **more}


def run_process(*arguments: str | Path, address: str, program: Path = EVENTSPINE) -> Ran:
    """Runs the installed command line as a process of its own."""
    done = subprocess.run(
        [program, *arguments],
        env=settings(EVENTSPINE_ADDRESS=address),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
