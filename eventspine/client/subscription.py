"""A subscription that outlives connections; promise: every event once, in order, over all of them.

It resumes after the last message that it has handed out, by that message's cursor.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import grpc
from grpc import aio

from eventspine.client.errors import CallError, broken, call_error
from eventspine.client.methods import encoded
from eventspine.client.retry import Patience
from eventspine.v1.record_pb2 import EventRecord
from eventspine.v1.subscription_pb2 import EventBatch, SubscribeRequest, SubscribeResponse

_PATH: Final = "/eventspine.v1.QueryService/Subscribe"
_HEARTBEAT_SECONDS: Final = 10.0
_HEARTBEATS_MISSED: Final = 3


class Subscription:
    """An endless iteration over events; leave it, or close it, to end it.

    Iterate over it for records, or over `batches()` or `messages()`; over one of them only, once.

    Attributes:
        cursor: Resume from here in another process: after the last batch that was handed out and
            left behind by asking for the next. Empty before the first message.
        caught_up: Whether what comes is live.
        lag_events: How many events of the log are still to be looked at, as last told.
    """

    def __init__(
        self, channel: aio.Channel, request: SubscribeRequest, patience_seconds: float
    ) -> None:
        """Begins nothing yet; the first step of an iteration does."""
        self.cursor = ""
        self.caught_up = False
        self.lag_events = 0
        self._request = SubscribeRequest()
        self._request.CopyFrom(request)
        self._patience_seconds = patience_seconds
        self._call = channel.unary_stream(_PATH, encoded, SubscribeResponse.FromString)

    async def __aiter__(self) -> AsyncGenerator[EventRecord, None]:
        """Iterates over the records of all batches."""
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                for record in batch.records:
                    yield record

    async def batches(self) -> AsyncGenerator[EventBatch, None]:
        """Iterates over batches, each with its cursor and the sequences of its records.

        Raises:
            CallError: Refused, or gone for longer than the caller is patient.
        """
        async with aclosing(self.messages()) as messages:
            async for message in messages:
                if message.HasField("batch"):
                    yield message.batch

    async def messages(self) -> AsyncGenerator[SubscribeResponse, None]:
        """Iterates over all that the platform sends; a new confirmation tells of a new connection.

        Raises:
            CallError: Refused, or gone for longer than the caller is patient.
        """
        patience = Patience(self._patience_seconds)
        while True:
            try:
                async with aclosing(self._connection()) as connection:
                    async for message in connection:
                        patience.succeeded()
                        yield message
                        self._left_behind(message)
                error = broken(grpc.StatusCode.UNAVAILABLE, "the stream ended")
            except CallError as failed:
                error = failed
            self.caught_up = False
            await patience.wait(error)

    async def _connection(self) -> AsyncGenerator[SubscribeResponse, None]:
        """Iterates over the messages of one connection.

        Raises:
            CallError: It failed, or was silent for longer than the platform may be.
        """
        request = self._request
        interval = request.heartbeat_interval.ToTimedelta().total_seconds() or _HEARTBEAT_SECONDS
        call = self._call(request)
        try:
            while True:
                async with asyncio.timeout(interval * _HEARTBEATS_MISSED):
                    message = await call.read()
                if not isinstance(message, SubscribeResponse):
                    return
                yield message
        except aio.AioRpcError as failed:
            raise call_error(failed) from None
        except TimeoutError:
            raise broken(grpc.StatusCode.UNAVAILABLE, "the platform has gone silent") from None
        finally:
            call.cancel()

    def _left_behind(self, message: SubscribeResponse) -> None:
        """Notes where to resume, and how the subscription stands."""
        kind = message.WhichOneof("message")
        if kind is None:
            return
        part = getattr(message, kind)
        if kind in ("heartbeat", "fell_behind"):
            self.lag_events = part.lag_events
        if kind in ("caught_up", "fell_behind"):
            self.caught_up = kind == "caught_up"
        self.cursor = self._request.cursor = part.cursor
