"""Events by stream, in Cassandra; promise: a stored append is on a quorum before its answer.

It does not sequence: a sequencer fills the log.
"""

import asyncio
from collections.abc import Sequence

from eventspine.storage.cassandra.append import Appender
from eventspine.storage.cassandra.buckets import Buckets
from eventspine.storage.cassandra.command_scan import CommandScan
from eventspine.storage.cassandra.session import Row
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.errors import OutcomeUnknownError
from eventspine.storage.records import (
    Append,
    CommandRow,
    Head,
    NumberedCommand,
    Outcome,
    StreamHead,
    StreamRecord,
)

_VERSION_MAX = 2**63 - 1
_LIMIT_MAX = 2**31 - 1
_SCAN_ROWS = 1000


class CassandraEventStore:
    """The port `EventStore` on a keyspace, for one tenant."""

    def __init__(self, store: CassandraStore) -> None:
        """Uses an open keyspace, which others close."""
        self._session = store.session
        self._tenant = store.tenant
        self._buckets = Buckets(store)
        self._appender = Appender(store, self._buckets)
        self._command_scan = CommandScan(store)
        events = store.session.table("events")
        part = (
            f"SELECT version, type, encoded FROM {events}"
            " WHERE tenant = ? AND stream = ? AND bucket = ? AND kind = 1 AND version"
        )
        self._up = f"{part} > ? ORDER BY kind, version LIMIT ?"
        self._down = f"{part} < ? ORDER BY kind DESC, version DESC LIMIT ?"
        self._scan = f"SELECT DISTINCT tenant, stream, bucket, head, chain FROM {events}"
        self._scan_from = f"{self._scan} WHERE token(tenant, stream, bucket) >= token(?, ?, ?)"

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Stores each append or not, on its own; see the port."""
        if len(appends) == 1:
            return [await self._appender.append(appends[0])]
        lanes: dict[str, list[Append]] = {}
        for append in appends:
            lanes.setdefault(append.stream, []).append(append)
        ends = await asyncio.gather(
            *(self._append_in_turn(lane) for lane in lanes.values()), return_exceptions=True
        )
        failures = [end for end in ends if isinstance(end, BaseException)]
        if failures:
            raise _joint(failures, all_failed=len(failures) == len(ends))
        outcomes = {
            stream: iter(end)
            for stream, end in zip(lanes, ends, strict=True)
            if not isinstance(end, BaseException)
        }
        return [next(outcomes[append.stream]) for append in appends]

    async def read(
        self, stream: str, *, after: int = 0, limit: int = 500, backwards: bool = False
    ) -> list[StreamRecord]:
        """Reads a part of a stream; see the port."""
        if backwards:
            return await self._read_down(stream, after, limit)
        (*_, number) = await self._buckets.holding(stream, after + 1)
        records: list[StreamRecord] = []
        while True:
            last = records[-1].stream_version if records else after
            part = await self._part(self._up, stream, number, last, limit - len(records))
            records += part
            if not part or len(records) >= limit:
                return records
            last = records[-1].stream_version
            if self._buckets.number(last) == number:
                return records
            number = self._buckets.number(last)

    async def head(self, stream: str) -> Head:
        """Returns the end of a stream; see the port."""
        return (await self._buckets.walk(stream)).end

    async def heads(self, *, after: str = "", limit: int = 500) -> list[StreamHead]:
        """Scans the streams that have events, in order of their tokens; see the port."""
        first = (self._tenant, after, 0)
        cql, values = (self._scan_from, first) if after else (self._scan, ())
        heads: list[StreamHead] = []
        passed = not after
        async for rows in self._session.pages(cql, values, rows_max=min(limit, _SCAN_ROWS)):
            if not passed:
                # Several streams may have the same token; `after` stands somewhere among them.
                names = [row[:3] for row in rows]
                rows = rows[names.index(first) + 1 :] if first in names else rows
                passed = True
            for row in rows:
                head = await self._stream_head(row)
                if head is not None:
                    heads.append(head)
                if len(heads) >= limit:
                    return heads
        return heads

    async def command(self, stream: str, command_id: str) -> CommandRow | None:
        """Returns what is remembered of a command; see the port."""
        return await self._appender.command(stream, command_id)

    async def commands(self, *, after: int = 0, limit: int = 500) -> list[NumberedCommand]:
        """Scans the commands of all streams, in an order of the scan's own; see `CommandScan`."""
        return await self._command_scan.commands(after, limit)

    async def _append_in_turn(self, appends: Sequence[Append]) -> list[Outcome]:
        return [await self._appender.append(append) for append in appends]

    async def _read_down(self, stream: str, after: int, limit: int) -> list[StreamRecord]:
        if after == 0:
            numbers = (await self._buckets.walk(stream)).numbers
            after = _VERSION_MAX
        else:
            numbers = await self._buckets.holding(stream, after - 1)
        records: list[StreamRecord] = []
        for number in reversed(numbers):
            records += await self._part(self._down, stream, number, after, limit - len(records))
            if len(records) >= limit:
                break
        return records

    async def _part(
        self, cql: str, stream: str, number: int, after: int, limit: int
    ) -> list[StreamRecord]:
        """Reads from one bucket."""
        rows = await self._session.read(
            cql,
            (self._tenant, stream, number, min(after, _VERSION_MAX), min(limit, _LIMIT_MAX)),
        )
        return list(map(StreamRecord._make, rows))

    async def _stream_head(self, row: Row) -> StreamHead | None:
        """Reads a row of the scan; a stream is found by its first bucket."""
        tenant, stream, bucket, version, chain = row
        if tenant != self._tenant or bucket != 0 or not version:
            return None
        if self._buckets.number(version) > 0:
            return StreamHead(stream, *await self.head(stream))
        return StreamHead(stream, version, chain)


def _joint(failures: Sequence[BaseException], *, all_failed: bool) -> BaseException:
    """Returns what to raise for a call of which some appends failed."""
    for failure in failures:
        if not isinstance(failure, Exception) or isinstance(failure, OutcomeUnknownError):
            return failure
    if all_failed:
        return failures[0]
    return OutcomeUnknownError("some of the appends were stored, and some were not; send all again")
