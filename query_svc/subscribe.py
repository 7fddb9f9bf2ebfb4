"""Step 8 of the way: events to those who follow; promise: in order, gapless, resumable, and honest.

A subscription holds its place and nothing else. It reads on when its reader has taken the last
message, so a slow reader costs no memory: it falls behind, is told so, and reads from the log.
"""

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from eventspine.rpc import limits, logs
from eventspine.rpc.checks import check_duration, check_limit
from eventspine.rpc.context import CallContext
from eventspine.storage.connect import Backend
from eventspine.storage.places import Places
from eventspine.storage.records import LogEntry, LogPlace, StreamPlace, StreamRecord
from eventspine.storage.tail import LogTail
from eventspine.v1.subscription_pb2 import (
    CaughtUp,
    Checkpoint,
    FellBehind,
    Heartbeat,
    SubscribeRequest,
    SubscribeResponse,
    SubscriptionConfirmation,
)
from query_svc.feed import Encoder, Feed, Memo, PageSize, Place, Step
from query_svc.filter import compile_filter
from query_svc.moments import append_time_us, duration, timestamp
from query_svc.pulse import Pulse
from query_svc.settings import QuerySettings
from query_svc.start import Start, Starts

Reply = SubscribeResponse | bytes

_RETRY_SECONDS = 0.1

_log = logging.getLogger("eventspine.subscribe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriptions:
    """Serves QueryService.Subscribe; what all subscriptions of a process share.

    Attributes:
        starts: Finds where they start.
        pulse: Wakes them.
        memo: Holds batches that several of them send.
        now_us: The clock, for heartbeats.
    """

    backend: Backend
    tail: LogTail
    pulse: Pulse
    starts: Starts
    memo: Memo
    settings: QuerySettings
    now_us: Callable[[], int]

    async def subscribe(
        self, request: SubscribeRequest, ctx: CallContext
    ) -> AsyncGenerator[Reply, None]:
        """Sends the messages of one subscription until the caller goes.

        Raises:
            InvalidRequestError: A field is malformed.
            LimitExceededError: It asks for too much.
            CursorInvalidError: The cursor is none, or of another filter.
            CursorExpiredError: The cursor is of another store, or beyond the end.
            ShuttingDownError: The process is stopping; the last cursor is good elsewhere.
        """
        wanted = compile_filter(request.filter)
        records_max = check_limit(
            "batch_records_max",
            request.batch_records_max,
            maximum=limits.BATCH_RECORDS_MAX,
            default=limits.BATCH_RECORDS_DEFAULT,
        )
        interval = check_duration(
            "heartbeat_interval",
            request.heartbeat_interval if request.HasField("heartbeat_interval") else None,
            minimum=limits.HEARTBEAT_SECONDS_MIN,
            maximum=limits.HEARTBEAT_SECONDS_MAX,
            default=limits.HEARTBEAT_SECONDS_DEFAULT,
        )
        start = await self.starts.find(request, wanted, self.now_us())
        encoder = Encoder(self.backend.identity.store_id, wanted, records_max)
        subscription = _Subscription(self, encoder, start, interval)
        ctx.parting["cursor"] = subscription.taken_cursor
        yield subscription.confirmation()
        async with aclosing(subscription.stream_history()) as batches:
            async for batch in batches:
                yield batch
        while True:
            message = await subscription.next()
            yield message
            subscription.taken()


class _Subscription:
    """One subscription: its place, and what it has told its reader."""

    def __init__(
        self, shared: Subscriptions, encoder: Encoder, start: Start, interval: float
    ) -> None:
        self._shared = shared
        self._encoder = encoder
        self._start = start
        self._place: Place = start.place
        self._taken: Place = start.place
        self._interval = interval
        self._feed = Feed(shared.tail, shared.memo, encoder)
        self._places = Places(shared.backend.log, shared.tail)
        self._clock = asyncio.get_running_loop().time
        self._sent = self._clock()
        self._heartbeat_sent = self._sent
        self._live = False
        self._partition = 0
        # Events that were looked at since the reader was last told that nothing is missing.
        self._unsigned = 0

    def confirmation(self) -> Reply:
        """Says where the subscription starts."""
        name, cursor = str(uuid.uuid4()), self._cursor()
        stream = self._encoder.wanted.stream
        logs.write(
            _log,
            logging.INFO,
            "a subscription starts",
            subscription_id=name,
            cursor=cursor,
            stream=stream,
        )
        confirmation = SubscriptionConfirmation(subscription_id=name, cursor=cursor)
        return SubscribeResponse(confirmation=confirmation)

    def taken(self) -> None:
        """Notes that the reader has taken the last message."""
        self._sent = self._clock()
        self._taken = self._place

    def taken_cursor(self) -> str:
        """Returns the cursor of what the reader has taken for certain."""
        return self._encoder.cursor(self._taken)

    async def next(self) -> Reply:
        """Returns the next message, as soon as there is one."""
        pulse = self._shared.pulse
        while True:
            pulse.check()
            now, lag = self._clock(), self._lag()
            sign = self._sign(lag, now)
            if sign is not None:
                return sign
            if now >= self._heartbeat_time(lag):
                self._heartbeat_sent = now
                return await self._heartbeat()
            step = await self._step() if lag else None
            if step is None:
                await pulse.next(self._patience(lag, now))
            elif step.message is not None:
                return step.message
            else:
                # A long stretch without a message must leave others their turn.
                await asyncio.sleep(0)

    async def _step(self) -> Step | None:
        """Goes on in one partition; None where it has nothing although its end has moved."""
        self._partition = self._next_partition()
        step = await self._feed.step(self._place, self._partition)
        if step is not None:
            self._place = step.place
            self._unsigned += step.looked_at
        return step

    def _next_partition(self) -> int:
        """Stays with the page that has been read, then takes the next partition with news."""
        last, count = self._partition, len(self._place)
        if count == 1 or self._feed.buffered(last, self._place[last]):
            return last
        tail = self._shared.tail
        for candidate in (turn % count for turn in range(last + 1, last + 1 + count)):
            if tail.end(candidate) > self._place[candidate]:
                return candidate
        return last

    def _lag(self) -> int:
        """Returns how many events are still to be looked at, as far as this process knows."""
        tail = self._shared.tail
        if self._live:
            lag, end_of = 0, tail.end
            for partition, at in enumerate(self._place):
                end = end_of(partition)
                if end > at:
                    lag += end - at
            return lag
        # At the start the log was asked for its ends, of which the tail may hear a little later.
        ends = map(max, tail.ends, self._start.ends)
        return sum(max(end - at, 0) for end, at in zip(ends, self._place, strict=True))

    def _sign(self, lag: int, now: float) -> Reply | None:
        """Returns what the reader has to be told before anything else is sent, if anything."""
        if not lag and not self._live:
            self._live = True
            self._unsigned = 0
            return SubscribeResponse(caught_up=CaughtUp(cursor=self._cursor()))
        settings = self._shared.settings
        if self._live and lag > settings.fell_behind_events:
            self._live = False
            self._unsigned = 0
            behind = FellBehind(lag_events=lag, cursor=self._cursor())
            return SubscribeResponse(fell_behind=behind)
        return self._checkpoint(now)

    def _checkpoint(self, now: float) -> Reply | None:
        """Returns a checkpoint when one is due."""
        settings = self._shared.settings
        if not self._unsigned or (
            self._unsigned < settings.checkpoint_events
            and now - self._sent < settings.checkpoint_seconds
        ):
            return None
        self._unsigned = 0
        return SubscribeResponse(checkpoint=Checkpoint(cursor=self._cursor()))

    def _heartbeat_time(self, lag: int) -> float:
        """A silent reader is told that the server lives; one that is behind, how far it is."""
        last = self._heartbeat_sent if lag else max(self._sent, self._heartbeat_sent)
        return last + self._interval

    def _patience(self, lag: int, now: float) -> float:
        """Returns how long there is nothing to say if the log does not move."""
        until = self._heartbeat_time(lag)
        if self._unsigned:
            until = min(until, self._sent + self._shared.settings.checkpoint_seconds)
        # A step that found nothing although the log has more is tried again before long.
        return min(until - now, _RETRY_SECONDS) if lag else until - now

    async def _heartbeat(self) -> Reply:
        now_us = self._shared.now_us()
        oldest = [
            append_time_us(entries[0].encoded)
            for partition, at in enumerate(self._place)
            if (entries := await self._shared.tail.read(partition, after=at, limit=1))
        ]
        heartbeat = Heartbeat(
            lag_events=self._lag(),
            lag=duration(max(now_us - min(oldest, default=now_us), 0)),
            time=timestamp(now_us),
            cursor=self._cursor(),
        )
        return SubscribeResponse(heartbeat=heartbeat)

    def _cursor(self) -> str:
        return self._encoder.cursor(self._place)

    async def stream_history(self) -> AsyncGenerator[Reply, None]:
        """Sends what one stream has up to the ends that were found, without scanning the log."""
        if not self._encoder.wanted.stream or self._lag() <= self._shared.settings.near_events:
            return
        stream, version, size = self._encoder.wanted.stream, self._start.version, PageSize()
        while True:
            self._shared.pulse.check()
            limit = size.limit(self._encoder.records_max)
            records = await self._shared.backend.events.read(stream, after=version, limit=limit)
            size.seen([record.encoded for record in records])
            asked = [StreamPlace(stream, record.stream_version) for record in records]
            places = await self._places.find(asked)
            entries = self._placed(records, places)
            for batch in self._batches(entries):
                yield batch
                self.taken()
            if entries:
                self._looked_at(entries)
            if None in places:
                # It may be in the log all the same, so the log is read on from here.
                return
            if len(records) < limit or self._behind_ends(places[-1]):
                break
            checkpoint = self._checkpoint(self._clock())
            if checkpoint is not None:
                yield checkpoint
                self.taken()
            version = records[-1].stream_version
        self._unsigned += self._lag()
        self._place = self._start.ends

    def _placed(
        self, records: Sequence[StreamRecord], places: Sequence[LogPlace | None]
    ) -> list[LogEntry]:
        """Returns the leading records that are known to be in the log, up to its ends.

        Those before the start are left out; their versions alone may not have told that.
        """
        stream, entries = self._encoder.wanted.stream, list[LogEntry]()
        for record, place in zip(records, places, strict=True):
            if place is None or self._behind_ends(place):
                break
            if place.sequence > self._start.place[place.partition]:
                entries.append(LogEntry(place.partition, place.sequence, stream, *record))
        return entries

    def _behind_ends(self, place: LogPlace | None) -> bool:
        return place is not None and place.sequence > self._start.ends[place.partition]

    def _batches(self, entries: Sequence[LogEntry]) -> Iterator[bytes]:
        """Encodes entries of one stream as batches, and moves on with each."""
        rest = self._encoder.wanted.matching(entries)
        encoded = [entry.encoded for entry in rest]
        sequences = [entry.sequence for entry in rest]
        first = 0
        while first < len(rest):
            end = first + self._encoder.fitting(encoded[first:])
            last = rest[end - 1]
            self._stand_at(last)
            yield self._encoder.batch(
                encoded[first:end], sequences[first:end], last.partition, self._place
            )
            first = end

    def _looked_at(self, entries: Sequence[LogEntry]) -> None:
        """Moves on over a page of one stream, also where nothing of it passed."""
        self._unsigned += len(entries)
        self._stand_at(entries[-1])

    def _stand_at(self, entry: LogEntry) -> None:
        """Stands behind an entry; other partitions hold nothing of its stream."""
        ends = self._start.ends
        self._place = (*ends[: entry.partition], entry.sequence, *ends[entry.partition + 1 :])
