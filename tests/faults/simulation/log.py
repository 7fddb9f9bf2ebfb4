"""The log as one process reaches it, with positions that are written later, as on Cassandra.

A process keeps the positions of what it extends in memory and writes them from time to time. What
a crash leaves unwritten is made good from the log's tail, when somebody takes over.
"""

import asyncio
from collections.abc import Sequence

from eventspine.storage.errors import LogMovedError
from eventspine.storage.memory.log import MemoryEventLog
from eventspine.storage.records import LogEntry, LogPlace, StreamPlace
from tests.faults.simulation.line import Line

FLUSH_SECONDS = 2.0


class SharedLog:
    """The servers' side.

    Attributes:
        log: The entries.
        versions: By stream, the last version whose position is written.
        written: By partition, the sequence up to which positions are written.
    """

    def __init__(self, partitions: int) -> None:
        """Starts empty."""
        self.log = MemoryEventLog(partitions)
        self.versions: dict[str, int] = {}
        self.written = [0] * partitions

    def note(self, partition: int, through: int, versions: dict[str, int]) -> None:
        """Writes positions; older ones lose."""
        for stream, version in versions.items():
            self.versions[stream] = max(version, self.versions.get(stream, 0))
        self.written[partition] = max(through, self.written[partition])


class FarEventLog:
    """The port `EventLog`."""

    def __init__(self, shared: SharedLog, line: Line) -> None:
        self._shared = shared
        self._line = line
        self._known: dict[str, int] = {}
        self._pending: dict[int, tuple[int, dict[str, int]]] = {}
        self._flushing: asyncio.Handle | None = None

    async def extend(self, partition: int, after: int, entries: Sequence[LogEntry]) -> None:
        what = (
            f"extend {partition} after {after} by {[(e.stream, e.stream_version) for e in entries]}"
        )
        try:
            await self._line.change(
                what, lambda: self._shared.log.extend(partition, after, entries)
            )
        except LogMovedError:
            self._line.faults.tell(f"{self._line.name} {what}: moved")
            self._forget(partition)
            raise
        self._note(partition, entries)

    async def take_over(self, partition: int) -> int:
        log, written = self._shared.log, self._shared.written[partition]
        entries = await self._line.ask(
            "tail", lambda: log.read(partition, after=written, limit=100_000)
        )
        self._forget(partition)
        self._note(partition, entries)
        return written + len(entries)

    async def read(self, partition: int, *, after: int = 0, limit: int = 500) -> list[LogEntry]:
        log = self._shared.log
        return await self._line.ask(
            "read log", lambda: log.read(partition, after=after, limit=limit)
        )

    async def read_encoded(
        self, partition: int, *, after: int = 0, limit: int = 500
    ) -> list[bytes]:
        return [entry.encoded for entry in await self.read(partition, after=after, limit=limit)]

    async def ends(self) -> tuple[int, ...]:
        return await self._line.ask("ends", self._shared.log.ends)

    async def positions(self, places: Sequence[StreamPlace]) -> list[LogPlace | None]:
        return await self._line.ask("positions", lambda: self._shared.log.positions(places))

    async def versions(self, streams: Sequence[str]) -> list[int]:
        async def found() -> list[int]:
            written = self._shared.versions
            return [max(self._known.get(s, 0), written.get(s, 0)) for s in streams]

        return await self._line.ask("versions", found)

    def _note(self, partition: int, entries: Sequence[LogEntry]) -> None:
        if not entries:
            return
        versions = self._pending.get(partition, (0, {}))[1]
        for entry in entries:
            self._known[entry.stream] = versions[entry.stream] = entry.stream_version
        self._pending[partition] = entries[-1].sequence, versions
        if self._flushing is None:
            loop = asyncio.get_running_loop()
            self._flushing = loop.call_later(FLUSH_SECONDS, self._flush)

    def _forget(self, partition: int) -> None:
        """Drops what another process may have gone beyond."""
        for stream in self._pending.pop(partition, (0, {}))[1]:
            self._known.pop(stream, None)

    def _flush(self) -> None:
        self._flushing = None
        if self._line.dead:
            return
        pending, self._pending = self._pending, {}
        for partition, (through, versions) in pending.items():
            self._shared.note(partition, through, versions)
