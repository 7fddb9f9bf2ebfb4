"""A platform that ends and begins again on its file: cursors, tokens, ids and rows go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from google.protobuf.empty_pb2 import Empty

from bank.v1 import account_pb2 as bank
from bank.v1 import views_pb2
from devstack.embedded import Embedded
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from eventspine.client.client import Client
from eventspine.v1.query_pb2 import QueryHeader
from eventspine.v1.record_pb2 import EventRecord, Expectation
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeRequest
from tests.faults.process import running
from tests.journey.user import (
    User,
    collected,
    depositing,
    opening,
    refusal,
    showing,
    told,
)

SECONDS = 30.0


@asynccontextmanager
async def served(db: Path, address: str = "127.0.0.1:0") -> AsyncIterator[tuple[User, str]]:
    async with (
        Embedded([BANK, FLIGHTS], db=db, address=address) as platform,
        grpc.aio.insecure_channel(platform.address) as channel,
    ):
        yield User(channel), platform.address


async def test_every_kind_of_subscription_goes_on_after_a_restart(tmp_path: Path) -> None:
    db = tmp_path / "events.db"
    filters = {
        "all": EventFilter(),
        "stream": EventFilter(stream="account/ann"),
        "type": EventFilter(types=["bank.v1.MoneyDeposited"]),
        "none": EventFilter(stream_prefix="flight/"),
    }
    cursors: dict[str, list[str]] = {}
    before: dict[str, list[EventRecord]] = {}
    async with served(db) as (user, _):
        await user.execute([opening("ann"), opening("bob")])
        await user.execute([depositing("ann", n) for n in range(1, 50)])
        for name, event_filter in filters.items():
            reader = user.subscribe(filter=event_filter, batch_records_max=7)
            await reader.until("caught_up")
            before[name] = list(reader.records)
            # The place in the midst of it, after the first messages, and the end.
            middle = reader.messages[len(reader.messages) // 2]
            kind = middle.WhichOneof("message")
            cursors[name] = [getattr(middle, kind).cursor, reader.cursor]
            reader.leave()
    async with served(db) as (user, _), asyncio.timeout(SECONDS):
        await user.deposit("ann", 50)
        await user.deposit("bob", 51)
        for name, event_filter in filters.items():
            whole = user.subscribe(filter=event_filter)
            await whole.until("caught_up")
            for cursor in cursors[name]:
                reader = user.subscribe(filter=event_filter, cursor=cursor)
                await reader.until("caught_up")
                count = len(whole.records) - len(reader.records)
                assert whole.records[count:] == reader.records
                reader.leave()
            # After the end, there is only what came since.
            assert whole.records[len(before[name]) :] == reader.records
            whole.leave()


async def test_a_command_is_answered_as_at_first_after_a_restart(tmp_path: Path) -> None:
    db = tmp_path / "events.db"
    command = depositing("ann", 5, command_id="mine")
    async with served(db) as (user, _):
        await user.open("ann")
        first = (await user.accounts.Deposit(command)).result
        await user.deposit("ann", 6)
    async with served(db) as (user, _):
        again = (await user.accounts.Deposit(command)).result
        assert (again.last_version, again.token, again.replayed) == (2, first.token, True)
        error = await refusal(user.deposit("ann", 7, command_id="mine"))
        assert told(error) == "ALREADY_EXISTS COMMAND_ID_REUSED"
        error = await refusal(user.deposit("ann", 7, expected=Expectation(version=2)))
        assert error.conflict is not None
        assert error.conflict.actual_version == 3
        assert (await user.deposit("ann", 7)).last_version == 4


async def test_tokens_and_pages_are_good_after_a_restart(tmp_path: Path) -> None:
    db = tmp_path / "events.db"
    async with served(db) as (user, _):
        for name in ("ann", "bob", "cid"):
            token = (await user.open(name, cents=3)).token
        page = views_pb2.ListAccountBalancesRequest(header=QueryHeader(**showing(token)), limit=2)
        (batch,) = await collected(user.balances.ListAccountBalances(page))
    async with served(db) as (user, _):
        assert (await user.balance("cid", **showing(token))).row.balance_cents == 3
        page = views_pb2.ListAccountBalancesRequest(
            header=QueryHeader(**showing(token)), limit=2, cursor=batch.cursor
        )
        (batch,) = await collected(user.balances.ListAccountBalances(page))
        assert [row.account_id for row in batch.rows] == ["cid"]


async def test_what_another_store_gave_out_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path / "one.db") as (user, _):
        token = (await user.open("ann", cents=3)).token
        reader = user.subscribe()
        await reader.until("caught_up")
    async with served(tmp_path / "other.db") as (user, _):
        await user.open("ann", cents=3)
        error = await refusal(user.subscribe(cursor=reader.cursor).read())
        assert told(error) == "FAILED_PRECONDITION CURSOR_EXPIRED"
        error = await refusal(user.balance("ann", **showing(token)))
        assert told(error) == "FAILED_PRECONDITION CURSOR_EXPIRED"


async def test_the_client_follows_over_restarts_without_noticing(tmp_path: Path) -> None:
    """A client keeps one subscription while its platform restarts at the same address."""
    db = tmp_path / "events.db"
    seen: list[tuple[str, int]] = []
    async with served(db) as (user, address):
        await user.open("ann", cents=1)
    client = Client.connect(address)
    subscription = client.subscribe(SubscribeRequest(beginning=Empty()))
    follower = asyncio.ensure_future(follow(subscription, seen, until_version=12))
    for _ in range(3):
        async with served(db, address):
            await client.ready()
            for _ in range(3):
                await client.execute(bank.DepositRequest(account_id="ann", amount_cents=1))
    async with served(db, address), asyncio.timeout(SECONDS):
        await client.execute(bank.DepositRequest(account_id="ann", amount_cents=1))
        await follower
    await client.close()
    assert seen == [("account/ann", version) for version in range(1, 13)]


async def follow(records, seen: list[tuple[str, int]], until_version: int) -> None:
    async for record in records:
        seen.append((record.stream, record.stream_version))
        if record.stream_version == until_version:
            return


async def test_a_platform_that_is_stopped_ends_subscriptions_with_a_reason(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "events.db") as platform,
        grpc.aio.insecure_channel(platform.address) as channel,
    ):
        user = User(channel)
        await user.open("ann")
        reader = user.subscribe()
        await reader.until("caught_up")
        ending = asyncio.ensure_future(refusal(reader.until("batch")))
        code, complaints = await platform.stop()
        assert told(await ending) == "UNAVAILABLE SHUTTING_DOWN"
        assert (code, complaints) == (0, "")
