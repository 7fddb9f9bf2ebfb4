"""Readers that stop reading: what they cost a platform that goes on for everybody else."""

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from bank.v1 import account_pb2 as bank
from tests.faults.process import running
from tests.journey.user import Reader, User, slow_channel

READERS = 20
EVENTS = 100_000
OWNER_BYTES = 400
SECONDS = 60.0


def resident_bytes(pid: int) -> int:
    """Returns how much memory a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


async def stalled(user: User) -> list[Reader]:
    """Begins subscriptions that are live, each on a connection that its reader then leaves be."""
    readers = [user.subscribe(end=Empty(), batch_records_max=1_000) for _ in range(READERS)]
    for reader in readers:
        await reader.until("caught_up")
    return readers


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to tell memory")
async def test_readers_that_stop_reading_cost_bounded_memory_and_lose_nothing(
    tmp_path: Path,
) -> None:
    events = [bank.AccountOpened(account_id="big", owner="o" * OWNER_BYTES)] * 1_000
    async with (
        asyncio.timeout(SECONDS),
        running(tmp_path / "events.db") as platform,
        slow_channel(platform.address) as channel,
        grpc.aio.insecure_channel(platform.address) as other,
    ):
        user, writer = User(channel), User(other)
        # The first of everything loads what any use of the platform loads.
        await writer.append("account/warm", events)
        readers = await stalled(user)
        live = writer.subscribe(end=Empty(), batch_records_max=1_000)
        await live.until("caught_up")
        before = resident_bytes(platform.pid)
        for number in range(EVENTS // 1_000):
            await writer.append(f"account/{number}", events)
            # Somebody who reads is not held up by those who do not.
            await live.taken((number + 1) * 1_000)
        grown = resident_bytes(platform.pid) - before
        queued = READERS * EVENTS * OWNER_BYTES
        # About 150 MB of it are the caches of a platform that stores so much without readers.
        assert grown < queued / 3
        for reader in readers:
            await reader.until("fell_behind")
        assert len(await readers[0].taken(EVENTS)) == EVENTS
