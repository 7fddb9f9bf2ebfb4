"""Recomputes hash chains; promise: the first record of a stream that was changed is named.

A chain alone does not show that its last records are gone, or a whole stream. Where a store tells a
stream's head by its last record, the commands are looked through too: each one remembers up to
which version its stream went. A store that keeps heads beside the records misses the last ones by
the head.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from eventspine.rpc.errors import StreamNotFoundError
from eventspine.storage.codec import verify
from eventspine.storage.errors import ChainBrokenError
from eventspine.storage.ports import EventLog, EventStore
from eventspine.storage.records import GENESIS, NumberedCommand, StreamHead, StreamPlace
from eventspine.v1.admin_pb2 import ChainBreak, VerifyResponse

STREAMS_AT_ONCE = 64
"""How many streams are verified at a time, so that their reads share the way to the store."""

READ_MAX = 500
"""How many records of a stream are read at once."""

COMMANDS_MAX = 2_000
"""How many commands are asked at once what they stored."""

BREAKS_MAX = 100
"""How many broken streams are named."""

TELL_US = 500_000
"""How often to tell how far the work has come, in microseconds."""


class Verification:
    """The chains of one stream or of all, as a stream of messages that end with `done`."""

    def __init__(
        self, events: EventStore, log: EventLog | None, *, now_us: Callable[[], int]
    ) -> None:
        """Verifies what a store holds.

        Args:
            events: Where records and commands are read.
            log: Tells of many records at once that they are there; None for a store that keeps
                heads beside the records.
            now_us: The clock, which says when to tell how far the work has come.
        """
        self._events = events
        self._log = log
        self._now_us = now_us
        self._streams = 0
        self._records = 0
        self._breaks: dict[str, ChainBreak] = {}

    async def run(self, stream: str) -> AsyncIterator[VerifyResponse]:
        """Verifies one stream; all of them for an empty name.

        Raises:
            StreamNotFoundError: The stream has no event.
            StoreUnavailableError: Records cannot be read.
        """
        told = self._now_us()
        async for work in self._work(stream):
            await work
            if self._now_us() - told >= TELL_US:
                told = self._now_us()
                yield self._answer(done=False)
        yield self._answer(done=True)

    async def _work(self, stream: str) -> AsyncIterator[Awaitable[None]]:
        async for heads in self._heads(stream):
            yield _all([self._stream(head) for head in heads])
        if stream or self._log is None:
            return
        number = 0
        while commands := await self._events.commands(after=number, limit=COMMANDS_MAX):
            yield self._stored(self._log, commands)
            number = commands[-1].number

    async def _heads(self, stream: str) -> AsyncIterator[list[StreamHead]]:
        if stream:
            head = await self._events.head(stream)
            if head.version == 0:
                raise StreamNotFoundError(f"stream {stream!r} has no event", stream=stream)
            yield [StreamHead(stream, *head)]
            return
        after = ""
        while heads := await self._events.heads(after=after, limit=STREAMS_AT_ONCE):
            yield heads
            after = heads[-1].stream

    async def _stream(self, head: StreamHead) -> None:
        """Verifies a stream up to the head that it had, whatever is appended meanwhile."""
        chain, version = GENESIS, 0
        try:
            while version < head.version:
                limit = min(READ_MAX, head.version - version)
                records = await self._events.read(head.stream, after=version, limit=limit)
                if not records:
                    raise _broken(head.stream, version + 1, "is missing")
                chain = verify(head.stream, records, chain, version)
                version += len(records)
                self._records += len(records)
            if chain != head.chain:
                raise _broken(head.stream, version, "is not the one that the stream's head names")
        except ChainBrokenError as error:
            self._note(error)
        self._streams += 1

    async def _stored(self, log: EventLog, commands: Sequence[NumberedCommand]) -> None:
        """Names the streams that end before what a command is remembered to have stored."""
        places = [
            StreamPlace(command.stream, command.row.last_version)
            for command in commands
            if command.row.last_version
        ]
        found = await log.positions(places)
        lost = dict([place for place, at in zip(places, found, strict=True) if at is None])
        for stream, last_version in lost.items():
            # What was stored a moment ago may not be in the log yet.
            head = await self._events.head(stream)
            if head.version < last_version:
                problem = f"is missing; a command stored versions up to {last_version}"
                self._note(_broken(stream, head.version + 1, problem))

    def _note(self, error: ChainBrokenError) -> None:
        """Notes the first break of a stream."""
        stream = error.metadata["stream"]
        if stream not in self._breaks and len(self._breaks) < BREAKS_MAX:
            self._breaks[stream] = ChainBreak(
                stream=stream,
                stream_version=int(error.metadata["stream_version"]),
                problem=error.metadata["problem"],
            )

    def _answer(self, *, done: bool) -> VerifyResponse:
        breaks = sorted(self._breaks.values(), key=lambda one: one.stream)
        return VerifyResponse(
            streams=self._streams, records=self._records, done=done, breaks=breaks
        )


async def _all(work: Sequence[Awaitable[None]]) -> None:
    if len(work) == 1:
        await work[0]
    else:
        await asyncio.gather(*work)


def _broken(stream: str, version: int, problem: str) -> ChainBrokenError:
    return ChainBrokenError(
        f"version {version} of stream {stream!r} {problem}",
        stream=stream,
        stream_version=str(version),
        problem=problem,
    )
