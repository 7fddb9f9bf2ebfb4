"""Streams to those who read them (step 7); promise: records go out as they were stored.

Nothing is parsed but the times of a stream's first and last record.
"""

from collections.abc import AsyncGenerator

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from eventspine.rpc.checks import check_enum, check_stream, refuse
from eventspine.rpc.context import CallContext
from eventspine.rpc.errors import StreamNotFoundError
from eventspine.storage.codec import chain_of
from eventspine.storage.ports import EventStore
from eventspine.v1.query_pb2 import (
    Direction,
    GetStreamRequest,
    GetStreamResponse,
    ReadStreamRequest,
    ReadStreamResponse,
)
from query_svc.feed import PageSize
from query_svc.moments import append_time_us, timestamp
from query_svc.settings import BATCH_BYTES_MAX, BATCH_RECORDS_MAX
from query_svc.splice import field, fitting

VERSION_MAX = (1 << 63) - 1
"""No store counts further; a larger version in a request is beyond the end all the same."""

_RECORDS = field(ReadStreamResponse.DESCRIPTOR.fields_by_name["records"].number)
_ENDLESS = 1 << 64
_DIRECTIONS: EnumTypeWrapper = Direction  # type: ignore[assignment] # the stub calls it a class


class Streams:
    """Answers ReadStream and GetStream."""

    def __init__(self, events: EventStore) -> None:
        """Reads from the event store."""
        self._events = events

    async def read(
        self, request: ReadStreamRequest, ctx: CallContext
    ) -> AsyncGenerator[bytes, None]:
        """Sends the records of one stream in batches.

        Raises:
            InvalidRequestError: A field is malformed.
            StreamNotFoundError: The stream has no event.
        """
        check_stream("stream", request.stream)
        if request.direction:
            check_enum("direction", _DIRECTIONS, request.direction)
        backwards = request.direction == Direction.DIRECTION_BACKWARDS
        after, left, size, first = _after(request), request.limit or _ENDLESS, PageSize(), True
        while left and not ctx.cancelled():
            limit = size.limit(min(left, BATCH_RECORDS_MAX))
            records = await self._events.read(
                request.stream, after=after, limit=limit, backwards=backwards
            )
            if first and not records:
                await self._check_exists(request.stream)
            encoded = [record.encoded for record in records]
            size.seen(encoded)
            while encoded:
                count = fitting(encoded, BATCH_RECORDS_MAX, BATCH_BYTES_MAX)
                yield b"".join(_RECORDS.parts(encoded[:count]))
                encoded = encoded[count:]
            if len(records) < limit or (backwards and records[-1].stream_version == 1):
                return
            after, left, first = records[-1].stream_version, left - len(records), False

    async def get(self, request: GetStreamRequest, ctx: CallContext) -> GetStreamResponse:
        """Tells the version and the ends of one stream.

        Raises:
            InvalidRequestError: The name is malformed.
            StreamNotFoundError: The stream has no event.
        """
        check_stream("stream", request.stream)
        last = await self._events.read(request.stream, limit=1, backwards=True)
        first = await self._events.read(request.stream, limit=1)
        if not first or not last:
            raise not_found(request.stream)
        return GetStreamResponse(
            stream=request.stream,
            last_version=last[0].stream_version,
            first_append_time=timestamp(append_time_us(first[0].encoded)),
            last_append_time=timestamp(append_time_us(last[0].encoded)),
            chain_hash=chain_of(last[0].encoded),
        )

    async def _check_exists(self, stream: str) -> None:
        if not (await self._events.head(stream)).version:
            raise not_found(stream)


def not_found(stream: str) -> StreamNotFoundError:
    """Says that a stream has no event."""
    return StreamNotFoundError(f"stream {stream!r} has no event", stream=stream)


def _after(request: ReadStreamRequest) -> int:
    """Returns the version next to the first one that is read, on the side that is not read."""
    backwards = request.direction == Direction.DIRECTION_BACKWARDS
    if not request.HasField("from_version"):
        return 0
    if not request.from_version:
        refuse("from_version", "is 0; versions count from 1, so send 1 or more, or leave it out")
    version = min(request.from_version, VERSION_MAX - 1)
    return version + 1 if backwards else version - 1
