"""Service processes as children of a test: started, waited for, asked to stop, and never left."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SECONDS = 60.0
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """Returns a port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """One service process; what it writes goes into files of its folder.

    Attributes:
        address: Where it serves, once `serving` has returned.
    """

    def __init__(self, argv: Sequence[str], folder: Path, settings: Mapping[str, str]) -> None:
        ours = {f"EVENTSPINE_{name.upper()}": value for name, value in settings.items()}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("EVENTSPINE_")}
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.address = ""
        with (folder / "stderr").open("w") as errors, (folder / "stdout").open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, *argv],
                cwd=ROOT,
                env=inherited | ours,
                stdout=output,
                stderr=errors,
            )

    @property
    def errors(self) -> str:
        return (self._folder / "stderr").read_text()

    @property
    def output(self) -> str:
        return (self._folder / "stdout").read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in self.errors.splitlines()]

    async def serving(self) -> str:
        """Waits until it serves; returns the address."""
        await self.until(lambda: "serves on" in self.output)
        self.address = re.search(r"serves on (\S+)", self.output)[1]
        return self.address

    def ask_to_stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Waits until it has ended; returns its exit code."""
        async with asyncio.timeout(SECONDS):
            while (code := self.process.poll()) is None:  # noqa: ASYNC110 - a process tells nobody
                await asyncio.sleep(0.01)
        return code

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until something holds; fails when the process ends before, or time is over."""
        async with asyncio.timeout(SECONDS):
            while not holds():
                assert self.process.poll() is None, self.errors
                await asyncio.sleep(0.01)

    def close(self) -> None:
        """Ends it in any case."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)
