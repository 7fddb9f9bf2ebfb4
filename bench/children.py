"""Starts the servers of the suite as child processes, and talks with them."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType


class Child:
    """A server in a process of its own; a context manager.

    Attributes:
        address: Where it listens.
    """

    def __init__(self, kind: str, argument: Path) -> None:
        """Prepares a server of a kind of `bench.servers`."""
        self._command = [sys.executable, "-m", "bench.servers", kind, str(argument)]
        self._process: subprocess.Popen[str]
        self.address = ""

    def __enter__(self) -> "Child":
        """Starts it."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = self._line()
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
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def ask(self, line: str) -> str:
        """Sends a line and returns the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._line()

    def cpu_seconds(self) -> float:
        """Returns how much processor time it has used."""
        return float(self.ask("cpu"))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            raise ChildEndedError(f"{' '.join(self._command)} ended early")
        return line


class ChildEndedError(Exception):
    """A server of the suite has ended; its own output says why."""
