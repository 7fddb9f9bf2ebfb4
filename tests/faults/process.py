"""A platform in a process of its own, which can be killed; promise: none outlives its test."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0
_LISTENS = re.compile(r"listens on (\S+)")


class PlatformProcess:
    """A running `eventspine dev`.

    Attributes:
        address: Where it listens.
    """

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self._process = process
        self.address = address

    @property
    def pid(self) -> int:
        return self._process.pid

    async def tell(self, line: str) -> None:
        """Writes a line to its standard input, which only a prefix of it reads."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def kill(self) -> None:
        """Kills it as `kill -9` does, and waits until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()

    async def stop(self) -> tuple[int, str]:
        """Asks it to stop, as Ctrl-C does; returns its exit code and what it complained about."""
        self._process.send_signal(signal.SIGINT)
        _, complaints = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, complaints.decode()


def command(db: Path, *, prefix: Sequence[str] = ()) -> list[str]:
    """Returns the command line of a platform on a file and a free port."""
    dev = ("-m", "devstack.cli.main", "dev", "--db", str(db), "--address", "127.0.0.1:0")
    return [*prefix, sys.executable, *dev]


async def started(db: Path, *, prefix: Sequence[str] = ()) -> PlatformProcess:
    """Starts a platform on a file; `prefix` is what runs it, and must leave it its process id."""
    process = await asyncio.create_subprocess_exec(
        *command(db, prefix=prefix),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS):
            while line := (await process.stdout.readline()).decode():
                if found := _LISTENS.search(line):
                    return PlatformProcess(process, found.group(1))
        _, complaints = await process.communicate()
        raise AssertionError(f"the platform did not start: {complaints.decode()}")
    except BaseException:
        await PlatformProcess(process, "").kill()
        raise


@asynccontextmanager
async def running(db: Path, *, prefix: Sequence[str] = ()) -> AsyncIterator[PlatformProcess]:
    """Starts a platform, and kills it in the end if it is still there."""
    platform = await started(db, prefix=prefix)
    try:
        yield platform
    finally:
        await platform.kill()
