"""An aggregate's state at a version or time (step 7); promise: what a decider would have seen.

It is folded from the stream, from a snapshot on where one is young enough; memory holds one page.
Each record is checked against the hash chain before it is folded.
"""

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from eventspine.domain.aggregate import Aggregate
from eventspine.domain.declared import Declarations
from eventspine.domain.errors import DomainDefectError
from eventspine.rpc.checks import check_stream, refuse
from eventspine.rpc.context import CallContext
from eventspine.rpc.errors import DeadlineExceededError, StreamNotFoundError
from eventspine.storage.codec import verify
from eventspine.storage.ports import EventStore, SnapshotStore
from eventspine.storage.records import GENESIS, StreamRecord
from eventspine.v1.query_pb2 import GetStateRequest, GetStateResponse
from eventspine.v1.record_pb2 import EventRecord
from query_svc.feed import PageSize
from query_svc.moments import append_time_us, moment_us
from query_svc.settings import BATCH_RECORDS_MAX
from query_svc.streams import not_found


class States:
    """Answers GetState."""

    def __init__(
        self, declarations: Declarations, events: EventStore, snapshots: SnapshotStore
    ) -> None:
        """Folds with the aggregates that are declared."""
        self._declarations = declarations
        self._events = events
        self._snapshots = snapshots

    async def get(self, request: GetStateRequest, ctx: CallContext) -> GetStateResponse:
        """Folds one stream to the version or time asked for.

        Raises:
            InvalidRequestError: A field is malformed, or the category has no aggregate.
            StreamNotFoundError: The stream has no event, or none at that version or time.
            ChainBrokenError: A record is not what was stored.
            DomainDefectError: An event cannot be folded.
        """
        stream = request.stream
        category = check_stream("stream", stream).category
        aggregate = self._declarations.aggregates.get(category)
        if aggregate is None:
            known = ", ".join(sorted(self._declarations.aggregates))
            refuse("stream", f"is of category `{category}`, which has no aggregate; have: {known}")
        version = await self._version(request, ctx)
        state = await self._folded(aggregate, stream, version, ctx)
        packed = AnyMessage()
        packed.Pack(state)
        return GetStateResponse(stream=stream, stream_version=version, state=packed)

    async def _version(self, request: GetStateRequest, ctx: CallContext) -> int:
        stream = request.stream
        at = request.WhichOneof("at")
        if at == "version" and not request.version:
            refuse("version", "is 0; versions count from 1")
        last = (await self._events.head(stream)).version
        if not last:
            raise not_found(stream)
        if at == "time":
            return await self._version_at(stream, moment_us("time", request.time), ctx)
        if at == "version" and request.version > last:
            raise StreamNotFoundError(
                f"stream {stream!r} has no version {request.version}; its last is {last}",
                stream=stream,
                last_version=str(last),
            )
        return request.version if at == "version" else last

    async def _version_at(self, stream: str, moment: int, ctx: CallContext) -> int:
        """Returns the last version that was stored at or before a moment.

        It walks backwards, since the clocks of several writers do not rise with the versions.
        """
        after, size = 0, PageSize()
        while True:
            limit = size.limit(BATCH_RECORDS_MAX)
            records = await self._events.read(stream, after=after, limit=limit, backwards=True)
            for record in records:
                if append_time_us(record.encoded) <= moment:
                    return record.stream_version
            if len(records) < limit or records[-1].stream_version == 1:
                raise StreamNotFoundError(
                    f"stream {stream!r} had no event at that time", stream=stream
                )
            size.seen([record.encoded for record in records])
            after = records[-1].stream_version
            _check_wanted(ctx)

    async def _folded(
        self, aggregate: Aggregate[Any], stream: str, version: int, ctx: CallContext
    ) -> Message:
        state: Message = aggregate.initial()
        after, chain, size = 0, GENESIS, PageSize()
        snapshot = await self._snapshots.load(stream)
        if (
            snapshot is not None
            and snapshot.code_version == aggregate.version
            and snapshot.stream_version <= version
        ):
            state = aggregate.state.FromString(snapshot.state)
            after, chain = snapshot.stream_version, snapshot.chain
        while after < version:
            limit = size.limit(min(BATCH_RECORDS_MAX, version - after))
            records = await self._events.read(stream, after=after, limit=limit)
            if not records:
                raise DomainDefectError(f"stream {stream!r} ends before its head", stream=stream)
            chain = verify(stream, records, chain, after)
            for record in records:
                state = self._evolved(aggregate, state, stream, record)
            size.seen([record.encoded for record in records])
            after = records[-1].stream_version
            _check_wanted(ctx)
        return state

    def _evolved(
        self, aggregate: Aggregate[Any], state: Message, stream: str, record: StreamRecord
    ) -> Message:
        declared = self._declarations.events.get(record.type)
        try:
            if declared is None:
                raise KeyError("no hosted domain declares the type")
            payload = EventRecord.FromString(record.encoded).payload
            evolved: Message = aggregate.evolve(state, declared.message.FromString(payload))
        # An evolver is the domain's own code: whatever it raises is a defect of the domain.
        except Exception as error:
            raise DomainDefectError(
                f"version {record.stream_version} of stream {stream!r} cannot be folded: {error!r}",
                stream=stream,
                type=record.type,
            ) from error
        return evolved


def _check_wanted(ctx: CallContext) -> None:
    """Long folds end when nobody waits for them.

    Raises:
        DeadlineExceededError: The caller has gone, or has no time left.
    """
    remaining = ctx.time_remaining()
    if ctx.cancelled() or (remaining is not None and remaining <= 0):
        raise DeadlineExceededError("the caller's deadline passed while a stream was folded")
