"""What the suites of bad input share: a running platform, requests that it takes, and refusals."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from bank.v1 import account_pb2 as pb
from devstack.embedded import Embedded
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from eventspine.client.errors import CallError, call_error
from eventspine.rpc.method import Method
from eventspine.v1.command_pb2 import (
    AppendRequest,
    CommandHeader,
    CommandVerdict,
    ExecuteRequest,
    ExecuteResponse,
)
from eventspine.v1.record_pb2 import Expectation

EXECUTE = "/eventspine.v1.CommandService/Execute"
WAIT_SECONDS = 15.0
_IDS = itertools.count(1)


class Caller:
    """Calls a platform over gRPC by request messages, or by bytes that may be none.

    Attributes:
        methods: All methods that the platform's three services host.
    """

    def __init__(self, platform: Embedded) -> None:
        self.platform = platform
        self.channel = aio.insecure_channel(
            platform.address, options=[("grpc.max_receive_message_length", 64 << 20)]
        )
        parts = platform.parts
        self.methods = [*parts.command.methods(), *parts.query.methods(), *parts.admin.methods()]

    async def replies(
        self, request: Message, *, count: int | None = None, timeout: float | None = WAIT_SECONDS
    ) -> list[Any]:
        """Returns the replies to a request; of a stream at most `count`, then it is cancelled."""
        method = next(m for m in self.methods if m.request is type(request))
        path, response = f"/{method.service}/{method.name}", response_of(method)
        raw = request.SerializeToString()
        try:
            if method.unary is not None:
                call = self.channel.unary_unary(path)
                return [response.FromString(await call(raw, timeout=timeout))]
            stream = self.channel.unary_stream(path)(raw, timeout=timeout)
            found: list[Any] = []
            async for reply in stream:
                found.append(response.FromString(reply))
                if len(found) == count:
                    stream.cancel()
                    break
        except aio.AioRpcError as error:
            raise call_error(error) from None
        return found

    async def one(self, request: Message) -> Any:
        """Returns the first reply to a request."""
        return (await self.replies(request, count=1))[0]

    async def refusal(self, request: Message) -> CallError:
        """Returns the error that a request is answered with."""
        with pytest.raises(CallError) as raised:
            await self.replies(request)
        return raised.value

    async def raw(self, method: Method, raw: bytes, seconds: float) -> CallError | None:
        """Sends bytes to a method; returns its error, or None where it answers or goes on."""
        path = f"/{method.service}/{method.name}"
        call: Any
        try:
            if method.unary is not None:
                await self.channel.unary_unary(path)(raw, timeout=WAIT_SECONDS)
                return None
            if method.server_stream is not None:
                call = self.channel.unary_stream(path)(raw)
            else:
                call = self.channel.stream_stream(path)()
                await call.write(raw)
                await call.done_writing()
            try:
                async with asyncio.timeout(seconds):
                    async for _ in call:
                        pass
            except TimeoutError:
                call.cancel()
        except aio.AioRpcError as error:
            return call_error(error)
        return None

    async def verdicts(self, *batches: list[Any]) -> list[CommandVerdict]:
        """Sends batches of messages or of `Any`s on one bulk stream; returns all verdicts."""
        call = self.channel.stream_stream(EXECUTE)()
        try:
            for batch in batches:
                await call.write(execute_request(batch).SerializeToString())
            await call.done_writing()
            replies = [ExecuteResponse.FromString(reply) async for reply in call]
        except aio.AioRpcError as error:
            raise call_error(error) from None
        return [verdict for reply in replies for verdict in reply.verdicts]

    async def bulk_refusal(self, *batches: list[Any]) -> CallError:
        """Returns the error that ends a bulk stream."""
        with pytest.raises(CallError) as raised:
            await self.verdicts(*batches)
        return raised.value


@asynccontextmanager
async def calling(platform: Embedded) -> AsyncIterator[Caller]:
    """Starts a platform, and gives a caller to it."""
    async with platform:
        caller = Caller(platform)
        try:
            yield caller
        finally:
            await caller.channel.close()


def bank_and_flights(db: Path | None) -> Embedded:
    """Returns a platform that is not started, in memory or in a file."""
    return Embedded([BANK, FLIGHTS], db=db)


def response_of(method: Method) -> type[Any]:
    """Returns the class of a method's response."""
    service = method.request.DESCRIPTOR.file.pool.FindServiceByName(method.service)
    return GetMessageClass(service.methods_by_name[method.name].output_type)


def header(command_id: str | None = None, **fields: Any) -> CommandHeader:
    """Returns a header with an id of its own, unless one is given."""
    chosen = f"c{next(_IDS)}" if command_id is None else command_id
    return CommandHeader(command_id=chosen, **fields)


def opening(account: str = "a", **fields: Any) -> pb.OpenAccountRequest:
    return pb.OpenAccountRequest(header=header(**fields), account_id=account, owner="Ann")


def deposit(account: str = "a", amount: int = 5, **fields: Any) -> pb.DepositRequest:
    return pb.DepositRequest(header=header(**fields), account_id=account, amount_cents=amount)


def appending(*events: Message, stream: str = "account/a", **fields: Any) -> AppendRequest:
    """Returns an `Append` of events, by default at any version."""
    fields.setdefault("expected", anyhow())
    request = AppendRequest(header=header(**fields), stream=stream)
    for event in events:
        name = event.DESCRIPTOR.full_name
        request.events.add(type=name, payload=event.SerializeToString())
    return request


def anyhow() -> Expectation:
    """Returns the expectation that holds at any version."""
    expected = Expectation()
    expected.any.SetInParent()
    return expected


def execute_request(batch: list[Any]) -> ExecuteRequest:
    request = ExecuteRequest()
    for command in batch:
        packed = request.commands.add()
        if command.DESCRIPTOR.full_name == "google.protobuf.Any":
            packed.CopyFrom(command)
        else:
            packed.Pack(command)
    return request


def with_seconds(method: Method, seconds: float) -> Method:
    """Returns a unary method whose caller has so many seconds left, whatever the transport says."""
    inner = method.unary
    assert inner is not None

    async def unary(request: Any, context: Any) -> Any:
        return await inner(request, replace(context, time_remaining=lambda: seconds))

    return replace(method, unary=unary)
