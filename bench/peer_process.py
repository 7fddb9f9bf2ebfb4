"""A program in an environment and a process of its own, where nothing of ours is installed.

It reads one JSON object a line and answers each with one.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any


class PeerEndedError(Exception):
    """The program has ended, so that nothing was measured."""


class PeerProcess:
    """A running program; a context manager."""

    def __init__(self, module: str, arguments: list[str], *, environment: Path, pins: Path) -> None:
        """Prepares a program, and makes its environment where there is none.

        Args:
            module: Its name; it is run by its path, since our packages are not there.
            arguments: What it is called with.
            environment: The folder of its virtual environment.
            pins: Its packages, with hashes.
        """
        python = _environment(environment, pins)
        script = Path(__file__).with_name(f"{module.removeprefix('bench.')}.py")
        self._command = [str(python), str(script), *arguments]
        self._process: subprocess.Popen[str]

    def __enter__(self) -> "PeerProcess":
        """Starts it."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def ask(self, **request: Any) -> Any:
        """Sends a request and returns the answer.

        Raises:
            PeerEndedError: There is no answer.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise PeerEndedError(f"{self._command[1]} ended early; its own output says why")
        return json.loads(answer)


def _environment(folder: Path, pins: Path) -> Path:
    """Makes an environment; returns its Python."""
    python = folder / "bin" / "python"
    made = folder / ".made"
    wanted = pins.read_text()
    if not made.exists() or made.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = (
            *(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"),
            *("--no-deps", "--require-hashes", "-r", str(pins)),
        )
        subprocess.run(install, check=True)
        made.write_text(wanted)
    return python
