"""What the launcher's tests share: a stack in a process of its own."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stack.forking import Forking

ROOT = Path(__file__).parents[2]
GENEROUS_SECONDS = 300


class Up:
    """A running `make stack`.

    Attributes:
        process: The launcher.
        told: What it has said of each thing, such as `Kafka`.
        node: Where a Cassandra node listens.
    """

    def __init__(self, process: asyncio.subprocess.Process, told: dict[str, str]) -> None:
        self.process = process
        self.told = told
        self.node = told["Cassandra"].split()[0]

    async def ended(self, number: signal.Signals) -> int:
        """Sends the launcher a signal; returns its exit code."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), GENEROUS_SECONDS)


Bring = Callable[..., Awaitable[Up]]


@pytest.fixture
async def up(launchable: None) -> AsyncIterator[Bring]:
    """Brings a stack up in a process of its own, and ends it if a test leaves it."""
    processes: list[asyncio.subprocess.Process] = []

    async def bring(*options: object) -> Up:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "devstack.stack", "up", "--quick", *map(str, options)),
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        processes.append(process)
        assert process.stdout is not None
        told = {}
        while line := (await process.stdout.readline()).decode().strip():
            subject, _, text = line.partition(": ")
            told[subject] = text
            if line.startswith("all is up"):
                return Up(process, told)
        raise AssertionError("it did not come up")

    yield bring
    for process in processes:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@pytest.fixture
async def platform(forking: Forking, ground: Any, tmp_path: Path) -> AsyncIterator[Any]:
    """Two of each service behind both tiers of Envoy, in a tenant of their own."""
    # Its imports are those of the drivers.
    from tests.stack.platform import StackPlatform

    async with StackPlatform(forking, ground, tmp_path) as running:
        yield running
