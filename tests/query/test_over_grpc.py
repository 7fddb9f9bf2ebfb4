"""The query service over real gRPC: flow control, callers that vanish, and many subscriptions."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from bank.v1 import account_pb2 as bank
from bank.v1 import views_pb2, views_pb2_grpc
from eventspine.rpc.context import CallContext
from eventspine.rpc.host import Host
from eventspine.rpc.method import Method
from eventspine.v1.query_pb2_grpc import QueryServiceStub
from eventspine.v1.subscription_pb2 import SubscribeRequest
from tests.query.test_rows import balance
from tests.query.world import BALANCES, World, in_order, kind, records_of
from tests.storage.until import until

RECORD_BYTES = 10_000
LIMIT_SECONDS = 20.0


class Counted:
    """A method whose replies are counted, and whose open calls are."""

    def __init__(self, method: Method) -> None:
        self.bytes = 0
        self.open = 0
        assert method.server_stream is not None
        self._serve = method.server_stream
        self.method = replace(method, server_stream=self._counted)

    async def _counted(self, request: Any, ctx: CallContext) -> AsyncGenerator[Any, None]:
        self.open += 1
        replies = self._serve(request, ctx)
        try:
            async for reply in replies:
                self.bytes += len(reply) if isinstance(reply, bytes) else reply.ByteSize()
                yield reply
        finally:
            await replies.aclose()
            self.open -= 1


@asynccontextmanager
async def hosted(methods: list[Method]) -> AsyncIterator[aio.Channel]:
    host = Host(methods)
    address = await host.start()
    try:
        # A window that grows by itself took from 5 to 21 MB of 40, as the machine had it.
        options = [("grpc.http2.bdp_probe", 0)]
        async with aio.insecure_channel(address, options=options) as channel:
            yield channel
    finally:
        await host.stop(grace_seconds=1.0)


async def test_a_reader_that_stops_reading_costs_bounded_memory_and_loses_nothing(
    world: World,
) -> None:
    counted = Counted(world.method("Subscribe"))
    async with hosted([counted.method]) as channel:
        call = QueryServiceStub(channel).Subscribe(SubscribeRequest(end=Empty()))
        messages = [await call.read(), await call.read()]
        assert [kind(message) for message in messages] == ["confirmation", "caught_up"]
        event = bank.AccountOpened(owner="o" * RECORD_BYTES)
        for number in range(40):
            await world.write(f"account/{number}", *[event] * 100)
        await world.settled()
        # The generator stands still once the transport has taken what it takes.
        standing = -1
        while counted.bytes != standing:
            standing = counted.bytes
            await world.tail.wait(0, 1 << 40, 0.3)
        assert standing < 4_000 * RECORD_BYTES / 10
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(records_of(messages)) < 4_000:
                messages.append(await call.read())
        assert sorted(records_of(messages)) == sorted(in_order(world.written))
        call.cancel()


async def test_a_caller_that_vanishes_ends_its_subscription(world: World) -> None:
    counted = Counted(world.method("Subscribe"))
    async with hosted([counted.method]) as channel:
        calls = []
        for _ in range(5):
            calls.append(QueryServiceStub(channel).Subscribe(SubscribeRequest(end=Empty())))
            await calls[-1].read()
        assert counted.open == 5
        for call in calls:
            call.cancel()
        await until(lambda: counted.open == 0)


async def test_a_caller_that_vanishes_ends_its_watch(world: World) -> None:
    await world.serve(BALANCES)
    async with hosted(world.service.methods()) as channel:
        request = views_pb2.WatchAccountBalanceRequest(account_id="alice")
        call = views_pb2_grpc.AccountQueriesStub(channel).WatchAccountBalance(request)
        assert (await call.read()).absent
        assert world.service.watched == 1
        call.cancel()
        await until(lambda: world.service.watched == 0)


async def test_two_hundred_live_subscriptions_all_get_every_event_in_order(
    world: World,
) -> None:
    async with hosted(world.service.methods()) as channel:
        stub = QueryServiceStub(channel)

        async def follow() -> list[tuple[str, int]]:
            call = stub.Subscribe(SubscribeRequest(beginning=Empty()))
            messages = [await call.read()]
            ready.release()
            while len(records_of(messages)) < 100:
                messages.append(await call.read())
            call.cancel()
            return records_of(messages)

        ready = asyncio.Semaphore(0)
        followers = [asyncio.create_task(follow()) for _ in range(200)]
        for _ in followers:
            await ready.acquire()
        for _ in range(10):
            await world.deposit("alice", 10)
        async with asyncio.timeout(LIMIT_SECONDS):
            for records in await asyncio.gather(*followers):
                assert records == in_order(world.written)


async def test_a_spliced_reply_parses_as_the_typed_response(world: World) -> None:
    await world.serve(BALANCES)
    await world.project({("alice",): balance("alice", 3)}, 1)
    async with hosted(world.service.methods()) as channel:
        stub = views_pb2_grpc.AccountQueriesStub(channel)
        got = await stub.GetAccountBalance(views_pb2.GetAccountBalanceRequest(account_id="alice"))
        assert got.row == balance("alice", 3)
        lists = [
            reply
            async for reply in stub.ListAccountBalances(views_pb2.ListAccountBalancesRequest())
        ]
        assert [row for reply in lists for row in reply.rows] == [balance("alice", 3)]


async def test_a_bad_cursor_is_invalid_argument_with_its_reason(world: World) -> None:
    async with hosted(world.service.methods()) as channel:
        call = QueryServiceStub(channel).Subscribe(SubscribeRequest(cursor="x"))
        try:
            await call.read()
        except aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        else:
            assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
