"""Callers that vanish, give up, or call what is not there: the others never notice."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from bank.v1 import views_pb2
from eventspine.client.errors import CallError
from eventspine.v1.command_pb2 import ExecuteResponse
from eventspine.v1.query_pb2 import GetStreamRequest
from eventspine.v1.subscription_pb2 import SubscribeRequest
from tests.contract.calling import (
    EXECUTE,
    Caller,
    bank_and_flights,
    calling,
    deposit,
    execute_request,
    opening,
)
from tests.storage.until import until

SUBSCRIBE = "/eventspine.v1.QueryService/Subscribe"
WATCH = "/bank.v1.AccountQueries/WatchAccountBalance"
GET = "/eventspine.v1.QueryService/GetStream"
DEPOSIT = "/bank.v1.AccountCommands/Deposit"


@pytest.fixture(params=["memory", "sqlite"])
async def caller(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Caller]:
    """A platform whose account `a` is open."""
    db = tmp_path / "store.db" if request.param == "sqlite" else None
    async with calling(bank_and_flights(db)) as first:
        await first.one(opening("a"))
        yield first


def open_streams(caller: Caller) -> int:
    return caller.platform.parts.host.open_streams


def severe(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


async def failure(call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    return raised.value


@pytest.mark.parametrize("way", ["cancels", "closes its channel"])
async def test_callers_that_vanish_leave_no_stream_and_no_task_behind(
    caller: Caller, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = len(asyncio.all_tasks())
    channels = [aio.insecure_channel(caller.platform.address) for _ in range(3)]
    calls: list[Any] = []
    subscribe = SubscribeRequest(beginning=Empty()).SerializeToString()
    watch = views_pb2.WatchAccountBalanceRequest(account_id="a").SerializeToString()
    for channel in channels:
        calls += [channel.unary_stream(SUBSCRIBE)(subscribe) for _ in range(10)]
        calls += [channel.unary_stream(WATCH)(watch) for _ in range(10)]
        bulks = [channel.stream_stream(EXECUTE)() for _ in range(5)]
        for bulk in bulks:
            await bulk.write(execute_request([deposit("a")]).SerializeToString())
        calls += bulks
    await asyncio.gather(*(call.read() for call in calls))
    assert open_streams(caller) == len(calls)
    if way == "cancels":
        for call in calls:
            call.cancel()
    await asyncio.gather(*(channel.close() for channel in channels))
    await until(lambda: open_streams(caller) == 0)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    assert severe(caplog) == []
    balance = views_pb2.GetAccountBalanceRequest(account_id="a")
    async with asyncio.timeout(5):
        while (await caller.one(balance)).row.balance_cents < 5 * 15:
            pass


async def test_a_reader_that_never_reads_and_vanishes_while_events_come(
    caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    channel = aio.insecure_channel(caller.platform.address)
    request = SubscribeRequest(beginning=Empty()).SerializeToString()
    deaf = [channel.unary_stream(SUBSCRIBE)(request) for _ in range(5)]
    await asyncio.gather(*(call.read() for call in deaf))
    bulk = channel.stream_stream(EXECUTE)()
    for batch in range(10):
        commands = [opening(f"b{batch}-{n}" + "x" * 100) for n in range(500)]
        await bulk.write(execute_request(commands).SerializeToString())
    assert (await caller.one(deposit("a"))).result.last_version == 2
    await channel.close()
    await until(lambda: open_streams(caller) == 0)
    assert severe(caplog) == []


async def test_a_caller_that_vanishes_while_the_process_stops_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        async with calling(bank_and_flights(None)) as caller:
            request = SubscribeRequest(beginning=Empty()).SerializeToString()
            calls = [caller.channel.unary_stream(SUBSCRIBE)(request) for _ in range(10)]
            await asyncio.gather(*(call.read() for call in calls))
            stopping = asyncio.create_task(caller.platform.stop())
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await stopping
    assert [record for record in severe(caplog) if record.name.startswith("grpc")] == []


async def test_commands_that_are_given_up_and_sent_again_take_effect_once(caller: Caller) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    requests = [deposit("a", command_id=f"given up {n}") for n in range(200)]

    async def given_up(request: Any) -> None:
        call = caller.channel.unary_unary(DEPOSIT)(
            request.SerializeToString(), timeout=chance.choice([None, 0.0001, 0.002, 0.01])
        )
        chance.choice([lambda: None, call.cancel])()
        try:
            await call
        except (aio.AioRpcError, asyncio.CancelledError) as error:
            code = error.code() if isinstance(error, aio.AioRpcError) else None
            assert code in (None, grpc.StatusCode.DEADLINE_EXCEEDED), f"seed {seed}"

    await asyncio.gather(*map(given_up, requests))
    answers = await asyncio.gather(*map(caller.one, requests))
    versions = [answer.result.last_version for answer in answers]
    assert sorted(versions) == list(range(2, 202)), f"seed {seed}"
    assert (await caller.one(GetStreamRequest(stream="account/a"))).last_version == 201
    again = await asyncio.gather(*map(caller.one, requests))
    assert [answer.result.last_version for answer in again] == versions
    assert all(answer.result.replayed for answer in again)


async def test_a_deadline_that_has_passed_is_told_so_and_stores_nothing(caller: Caller) -> None:
    for request in (deposit("a"), GetStreamRequest(stream="account/a")):
        with pytest.raises(CallError) as raised:
            await caller.replies(request, timeout=-1)
        assert raised.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(CallError) as raised:
        await caller.replies(SubscribeRequest(end=Empty()), timeout=0.05)
    assert raised.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: open_streams(caller) == 0)
    assert (await caller.one(GetStreamRequest(stream="account/a"))).last_version == 1


async def test_a_stream_of_commands_may_be_half_closed_at_any_time(caller: Caller) -> None:
    empty = caller.channel.stream_stream(EXECUTE)()
    await empty.done_writing()
    assert await empty.read() is aio.EOF
    assert await empty.code() == grpc.StatusCode.OK
    early = caller.channel.stream_stream(EXECUTE)()
    await early.write(execute_request([deposit("a") for _ in range(500)]).SerializeToString())
    await early.done_writing()
    verdicts = [v async for raw in early for v in ExecuteResponse.FromString(raw).verdicts]
    assert [v.result.last_version for v in verdicts] == list(range(2, 502))


@pytest.mark.parametrize(
    "path",
    [
        "/eventspine.v1.QueryService/NoSuch",
        "/no.v1.Such/Get",
        "/eventspine.v1.QueryService",
        "/",
        "/bank.v1.AccountCommands/deposit",
    ],
)
async def test_what_is_not_there_is_unimplemented(caller: Caller, path: str) -> None:
    error = await failure(caller.channel.unary_unary(path)(b""))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    stream = caller.channel.stream_stream(path)()
    assert (await failure(stream.read())).code() == grpc.StatusCode.UNIMPLEMENTED


async def test_too_large_a_header_map_is_refused_and_others_are_served(caller: Caller) -> None:
    metadata = [(f"key-{n}", "x" * 1_000) for n in range(100)]
    error = await failure(
        caller.channel.unary_unary(GET)(
            GetStreamRequest(stream="account/a").SerializeToString(), metadata=metadata
        )
    )
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await caller.one(GetStreamRequest(stream="account/a"))).last_version == 1


async def test_a_message_nested_too_deep_is_refused_by_every_method(caller: Caller) -> None:
    # Unknown fields nested as groups, far deeper than the parser goes.
    groups = b"\xfb\x7f" * 50_000
    for method in caller.methods:
        error = await caller.raw(method, groups, 1)
        assert error is not None
        assert error.code == grpc.StatusCode.INVALID_ARGUMENT, method
        assert error.reason == "ERROR_REASON_INVALID_REQUEST"
    assert (await caller.one(deposit("a"))).result.last_version == 2


async def test_a_burst_of_calls_is_answered_and_none_is_cancelled_by_chance(caller: Caller) -> None:
    requests = [opening(f"burst-{n}") for n in range(2_500)]
    answers = await asyncio.gather(*map(caller.one, requests))
    assert {answer.result.last_version for answer in answers} == {1}
