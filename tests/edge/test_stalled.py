"""Subscribers that stop reading: what they cost the edge, and that nobody else waits for them."""

import asyncio
from pathlib import Path

import pytest
from google.protobuf.empty_pb2 import Empty

from bank.v1 import account_pb2 as bank
from tests.edge.conftest import Behind
from tests.journey.test_stalled_readers import resident_bytes
from tests.journey.user import Reader, User, slow_channel

pytestmark = pytest.mark.envoy
READERS = 40
BATCHES = 40
SECONDS = 90.0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to tell memory")
async def test_subscribers_that_stop_reading_hold_up_nobody_and_cost_little(
    behind: Behind, user: User, account: str
) -> None:
    stream = f"account/{account}"
    # 400 KB a batch: in all more than any window or buffer on the way.
    events = [bank.AccountOpened(account_id=account, owner="o" * 400)] * 1_000
    processes = (behind.edge.load_balancer, *behind.edge.gateways)
    await user.append(stream, events)
    live = user.subscribe(end=Empty(), filter={"stream": stream})
    await live.until("caught_up")
    async with asyncio.timeout(SECONDS), slow_channel(behind.address) as channel:
        slow = User(channel)
        stalled: list[Reader] = []
        for _ in range(READERS):
            stalled.append(slow.subscribe(end=Empty(), filter={"stream": stream}))
            await stalled[-1].until("caught_up")
        before = sum(resident_bytes(process.pid) for process in processes)
        for number in range(BATCHES):
            await user.append(stream, events)
            await live.taken((number + 1) * 1_000)
        grown = sum(resident_bytes(process.pid) for process in processes) - before
        assert grown < 64 << 20
        for reader in stalled:
            reader.leave()
    live.leave()
