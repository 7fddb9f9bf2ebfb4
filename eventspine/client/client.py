"""The client; promise: a call goes through once in effect, or says why it did not.

async with Client.connect("127.0.0.1:7070") as client:
    response = await client.execute(DepositRequest(account_id="alice", amount_cents=500))
    async for record in client.subscribe(SubscribeRequest(beginning=Empty())):
        print(record.stream, record.type)
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from eventspine.client.bulk import BulkStream
from eventspine.client.errors import broken, call_error
from eventspine.client.methods import encoded, identify, method_of
from eventspine.client.retry import Patience
from eventspine.client.subscription import Subscription
from eventspine.v1.command_pb2 import CommandVerdict
from eventspine.v1.subscription_pb2 import SubscribeRequest

Stub = TypeVar("Stub")

PATIENCE_SECONDS: Final = 30.0
"""How long a call goes on trying unless its caller says otherwise."""

OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A platform that restarts is found again quickly.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A platform that vanished without a word is noticed after 40 s, also by silent subscriptions.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)
"""What the transport is told. Source: gRPC's keepalive guide."""


class Client:
    """A connection to a platform, for any domain whose generated messages are at hand."""

    def __init__(self, channel: aio.Channel) -> None:
        """Uses a channel of the caller's making, and closes it at the end."""
        self.channel = channel

    @classmethod
    def connect(cls, address: str, options: Sequence[tuple[str, Any]] = ()) -> "Client":
        """Returns a client of `host:port`, without TLS. Connects with the first call.

        Args:
            address: Where the platform listens.
            options: Further gRPC channel options, which go before ours.
        """
        return cls(aio.insecure_channel(address, options=(*OPTIONS, *options)))

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and every call on it."""
        await self.channel.close()

    def stub(self, kind: Callable[[Any], Stub]) -> Stub:
        """Returns a generated stub on this connection. Its calls are not tried again."""
        return kind(self.channel)

    async def execute(self, request: Message, *, timeout_seconds: float = PATIENCE_SECONDS) -> Any:
        """Sends a command or a query and returns its response.

        What is safe to repeat is tried again until it is answered or the time is over. A command
        without an id is given a random one, in the message itself, so that sending that message
        again later is safe too.

        Args:
            request: A message that exactly one unary method of its proto file takes.
            timeout_seconds: How long to try, in all.

        Raises:
            CallError: Refused, or not answered in time; `reason` tells what has happened.
            LookupError: No method, or several, take the message. Nothing was sent.
            TypeError: Its method answers with a stream. Nothing was sent.
        """
        method = method_of(request.DESCRIPTOR)
        if method.streaming:
            raise TypeError(f"{method.path} answers with a stream; read it with `client.read`")
        if method.command:
            identify(request)
        call = self.channel.unary_unary(method.path, encoded, method.response.FromString)
        patience = Patience(timeout_seconds)
        while True:
            try:
                return await call(request, timeout=patience.remaining)
            except aio.AioRpcError as failed:
                error = call_error(failed)
            if not method.repeatable:
                raise error
            await patience.wait(error)

    async def read(
        self, request: Message, *, timeout_seconds: float | None = None
    ) -> AsyncIterator[Any]:
        """Sends a query and iterates over the responses of its stream. Does not try again.

        Raises:
            CallError: The stream failed; what came before is good.
            LookupError: No method, or several, take the message. Nothing was sent.
            TypeError: Its method answers once. Nothing was sent.
        """
        method = method_of(request.DESCRIPTOR)
        if not method.streaming:
            raise TypeError(f"{method.path} answers once; send it with `client.execute`")
        call = self.channel.unary_stream(method.path, encoded, method.response.FromString)
        stream = call(request, timeout=timeout_seconds)
        try:
            async for response in stream:
                yield response
        except aio.AioRpcError as failed:
            raise call_error(failed) from None
        finally:
            stream.cancel()

    def subscribe(
        self, request: SubscribeRequest, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> Subscription:
        """Returns a subscription to iterate over; it resumes by itself when the connection breaks.

        Args:
            request: Where to start, and which events to send. Not changed.
            patience_seconds: How long to go on trying to resume before giving up.
        """
        return Subscription(self.channel, request, patience_seconds)

    def bulk(
        self,
        commands: Iterable[Message],
        *,
        outstanding_max: int = 4_000,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> AsyncIterator[CommandVerdict]:
        """Sends many typed commands and iterates over their verdicts as they come.

        Commands are taken from `commands` as there is room, so that it may be endless. Each gets
        one verdict. What a broken connection left without a verdict is sent again.

        Args:
            commands: Request messages; one without a command id is given one.
            outstanding_max: How many may wait for their verdict.
            patience_seconds: How long to go on trying without any verdict before giving up.

        Raises:
            CallError: The platform refused the stream, or went away for good. Commands without a
                verdict may or may not have been stored.
            LookupError: A message is no typed command. Those taken before may have been stored.
        """
        return BulkStream(
            self.channel, iter(commands), outstanding_max, patience_seconds
        ).verdicts()

    async def ready(self, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Waits until the platform can be reached.

        Raises:
            CallError: It could not in time.
        """
        patience = Patience(timeout_seconds)
        state = self.channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            try:
                async with asyncio.timeout(patience.remaining):
                    await self.channel.wait_for_state_change(state)
            except TimeoutError:
                text = f"nothing answered in {timeout_seconds:g} s"
                raise broken(grpc.StatusCode.UNAVAILABLE, text) from None
            state = self.channel.get_state(try_to_connect=True)
