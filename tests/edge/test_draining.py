"""Restarts under load: no call fails that nobody repeats; no event is lost, or told twice.

Overload: what is too much is refused at once, and the rest is served as before.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from bank.v1 import account_pb2 as bank
from devstack.edge.settings import Limits
from devstack.embedded import Embedded
from domains.bank.domain import BANK
from eventspine.client.client import Client
from eventspine.v1.record_pb2 import EventRecord
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeRequest
from tests.edge.backend import backend
from tests.edge.fronted import DEPOSIT, free_address, fronted
from tests.edge.load import ANSWERED, Load
from tests.journey.command_line import Dev
from tests.journey.user import User, depositing, eventually, opening

pytestmark = pytest.mark.envoy
SECONDS = 90.0


@asynccontextmanager
async def followed(address: str, account: str) -> AsyncIterator[list[EventRecord]]:
    """A subscription that resumes by itself; yields the records that have come."""
    records: list[EventRecord] = []

    async def follow(client: Client) -> None:
        wish = SubscribeRequest(beginning=Empty(), filter=EventFilter(stream=f"account/{account}"))
        async for record in client.subscribe(wish):
            records.append(record)

    async with Client.connect(address) as client:
        following = asyncio.create_task(follow(client))
        try:
            yield records
        finally:
            following.cancel()
            await asyncio.wait((following,))


async def all_once(records: list[EventRecord], count: int) -> None:
    """Waits for so many records; fails when one is missing, twice or out of order."""

    async def come() -> bool:
        return len(records) >= count

    await eventually(come)
    assert [record.stream_version for record in records] == list(range(1, count + 1))


@pytest.mark.slow
async def test_gateways_that_restart_one_after_the_other_fail_no_call(
    dev: Dev, tmp_path: Path
) -> None:
    async with (
        asyncio.timeout(SECONDS),
        fronted(tmp_path, dev.address) as edge,
        aio.insecure_channel(edge.address) as channel,
        followed(edge.address, "rolling") as records,
    ):
        user = User(channel)
        await user.open("rolling")
        # Calls by stubs, which repeat nothing.
        load = Load(lambda: user.deposit("rolling", 1))
        async with load.by_callers_who_wait(4):
            for number in range(len(edge.gateways)):
                before = load.outcomes[ANSWERED]
                await edge.restart_gateway(number)

                async def served(before: int = before) -> bool:
                    return load.outcomes[ANSWERED] > before

                await eventually(served)
        assert set(load.outcomes) == {ANSWERED}
        await all_once(records, 1 + load.outcomes[ANSWERED])


@pytest.mark.slow
async def test_a_service_that_restarts_fails_no_command_that_is_repeated(tmp_path: Path) -> None:
    address, db = free_address(), tmp_path / "events.db"
    async with (
        asyncio.timeout(SECONDS),
        fronted(tmp_path / "edge", address) as edge,
        Client.connect(edge.address) as client,
        followed(edge.address, "again") as records,
    ):
        stored = itertools.count()

        async def deposit() -> None:
            result = (await client.execute(depositing("again", 1))).result
            assert result.event_count == 1
            next(stored)

        async with Embedded([BANK], db=db, address=address):
            await client.execute(opening("again"))
            load = Load(deposit)
            calls = asyncio.ensure_future(_until(load, enough := asyncio.Event()))
            await eventually(lambda: _more_than(load, 20))
        before = load.outcomes[ANSWERED]
        async with Embedded([BANK], db=db, address=address):
            await eventually(lambda: _more_than(load, before + 20))
            enough.set()
            await calls
            assert set(load.outcomes) == {ANSWERED}
            await all_once(records, 1 + next(stored))


async def _until(load: Load, enough: asyncio.Event) -> None:
    async with load.by_callers_who_wait(4):
        await enough.wait()


async def _more_than(load: Load, count: int) -> bool:
    return load.outcomes[ANSWERED] > count


@pytest.mark.slow
async def test_five_times_what_a_service_can_do_leaves_it_doing_what_it_can(
    tmp_path: Path,
) -> None:
    # Four at once, 80 ms each: 50 a second, and little work for the machine.
    room = asyncio.Semaphore(4)

    async def work(raw: bytes, context: Any) -> bytes:
        async with room:
            await asyncio.sleep(0.08)
        return bank.DepositResponse().SerializeToString()

    async with (
        asyncio.timeout(SECONDS),
        backend(work) as service,
        fronted(tmp_path, service.address, limits=Limits(requests=16)) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        call = channel.unary_unary(DEPOSIT)
        loop = asyncio.get_running_loop()
        peak = Load(lambda: call(b"", timeout=30))
        began = loop.time()
        async with peak.by_callers_who_wait(8):
            await asyncio.sleep(3)
        peak_rate = peak.outcomes[ANSWERED] / (loop.time() - began)
        over = Load(lambda: call(b"", timeout=30))
        began = loop.time()
        await over.at_a_rate(peak_rate * 5, 4)
        rate = over.outcomes[ANSWERED] / (loop.time() - began)
        assert set(peak.outcomes) == {ANSWERED}
        assert set(over.outcomes) == {ANSWERED, "RESOURCE_EXHAUSTED"}
        assert rate > 0.8 * peak_rate, (over.outcomes, peak_rate, rate)
