"""Services whose clocks go wrong while they run: append times are wrong then, and nothing else."""

import asyncio
import signal
import time

import grpc
from google.protobuf.empty_pb2 import Empty

from eventspine.v1.record_pb2 import EventRecord
from tests.journey.user import BALANCES, User, projected, showing
from tests.stack.forking import HOUR_SECONDS
from tests.stack.platform import StackPlatform

SECONDS = 120
WRONG = {
    "command_svc-1": signal.SIGUSR1,
    "command_svc-2": signal.SIGUSR2,
    "processor_svc-1": signal.SIGUSR2,
    "processor_svc-2": signal.SIGUSR1,
    "query_svc-1": signal.SIGUSR1,
    "query_svc-2": signal.SIGUSR2,
}


def hours_off(record: EventRecord) -> int:
    return round((record.append_time.ToMicroseconds() / 1e6 - time.time()) / HOUR_SECONDS)


async def test_clocks_that_are_hours_apart_change_nothing_but_append_times(
    platform: StackPlatform,
) -> None:
    async with grpc.aio.insecure_channel(platform.address) as channel:
        user = User(channel)
        async with asyncio.timeout(SECONDS):
            reader = user.subscribe(end=Empty())
            await reader.until("caught_up")
            await user.open("ann", cents=1)
            for name, number in WRONG.items():
                platform.processes[name].signal(number)
            total = 1
            # Calls go to each instance in turn, so each stream is written by both clocks.
            for cents in range(2, 22):
                result = await user.deposit("ann", cents, wait_for=projected(BALANCES))
                total += cents
                assert result.projected
                balance = await user.balance("ann", **showing(result.token))
                assert balance.row.balance_cents == total
            records = await reader.taken(22)
    assert [record.stream_version for record in records] == [*range(1, 23)]
    assert len({record.event_id for record in records}) == 22
    off = {hours_off(record) for record in records}
    assert off == {0, 1, -1}
    reader.leave()
