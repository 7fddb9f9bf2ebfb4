"""An event store that watches how it is used, and fails when a test says so."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Literal

from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.ports import EventStore
from eventspine.storage.records import (
    Append,
    CommandRow,
    Head,
    NumberedCommand,
    Outcome,
    StreamHead,
    StreamRecord,
)

Fault = Literal["lost before", "lost after", "unavailable", "disk full"]


class WatchedStore:
    """Passes everything on to a store; passes the suite of the port as that store does.

    Attributes:
        appends: Every append that came, in order.
        calls: How many appends each call had.
        reads: How often a stream was read.
        overlaps: Streams of which an append came while another was in flight. Must stay empty.
        faults: What becomes of the next calls of `append`; beyond them all is well.
        open: Appends wait while it is not set.
        answering: Questions about one command wait while it is not set.
        asked: Is set by a question for the end of a stream.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._in_flight: set[str] = set()
        self.appends: list[Append] = []
        self.calls: list[int] = []
        self.reads = 0
        self.overlaps: list[str] = []
        self.faults: deque[Fault] = deque()
        self.open = asyncio.Event()
        self.open.set()
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked = asyncio.Event()

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        streams = {append.stream for append in appends}
        self.overlaps += streams & self._in_flight
        self._in_flight |= streams
        self.appends += appends
        self.calls.append(len(appends))
        try:
            await asyncio.sleep(0)
            await self.open.wait()
            return await self._append(appends)
        finally:
            self._in_flight -= streams

    async def _append(self, appends: Sequence[Append]) -> list[Outcome]:
        fault = self.faults.popleft() if self.faults else None
        if fault == "unavailable":
            raise StoreUnavailableError("disk full", cause="disk full")
        if fault == "disk full":
            raise ValueError("nobody foresaw this")
        if fault == "lost before":
            raise OutcomeUnknownError("the connection was lost")
        outcomes = await self._store.append(appends)
        if fault == "lost after":
            raise OutcomeUnknownError("the connection was lost")
        return outcomes

    async def read(
        self, stream: str, *, after: int = 0, limit: int = 500, backwards: bool = False
    ) -> list[StreamRecord]:
        self.reads += 1
        return await self._store.read(stream, after=after, limit=limit, backwards=backwards)

    async def head(self, stream: str) -> Head:
        self.asked.set()
        return await self._store.head(stream)

    async def heads(self, *, after: str = "", limit: int = 500) -> list[StreamHead]:
        return await self._store.heads(after=after, limit=limit)

    async def command(self, stream: str, command_id: str) -> CommandRow | None:
        await self.answering.wait()
        return await self._store.command(stream, command_id)

    async def commands(self, *, after: int = 0, limit: int = 500) -> list[NumberedCommand]:
        return await self._store.commands(after=after, limit=limit)
