"""Where in the log the versions of streams are; promise: written late, and never wrong.

Whoever extends the log notes in memory where each stream is now, and a moment later one row is
written for each stream, however many of its events came. A process that dies before that loses
nothing: whoever takes its log partition over notes what stands behind the place that was flushed.

A version between two rows is found by a walk backwards in the log, from the row above it: it went
into the log within the same moment, or a little more after a failure.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from eventspine.storage.cassandra.batches import batched
from eventspine.storage.cassandra.log_tables import ENTRIES_PER_BUCKET
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.records import LogPlace, StreamPlace

FLUSH_SECONDS = 1.0
"""How long after an extension its positions are written."""

_FLUSH_ROWS = 1_000
_WALK_ROWS = 500

_ROW_BYTES = 60
"""What a row takes beside the name of its stream, about."""

_log = logging.getLogger("eventspine.positions")

Noted = tuple[str, int, int]
"""A stream, a version of it, and its sequence in the log partition that is spoken of."""


class _Bucket(NamedTuple):
    """A stream's bucket in the table of positions."""

    stream: str
    number: int


class _Row(NamedTuple):
    """A position that is known: a row of the table, or one that is still to be written."""

    version: int
    partition: int
    sequence: int


class CassandraPositions:
    """Notes, flushes and finds positions of one tenant's streams."""

    def __init__(
        self,
        store: CassandraStore,
        *,
        flush_seconds: float = FLUSH_SECONDS,
        entries_per_bucket: int = ENTRIES_PER_BUCKET,
    ) -> None:
        """Keeps positions in an open keyspace.

        Args:
            store: The keyspace.
            flush_seconds: How late they are written.
            entries_per_bucket: How many sequences of the log stand in one Cassandra partition; for
                a keyspace it never changes.
        """
        self.entries_per_bucket = entries_per_bucket
        self._session = store.session
        self._tenant = store.tenant
        self._per_bucket = store.events_per_bucket
        self._flush_seconds = flush_seconds
        self._noted: dict[_Bucket, _Row] = {}
        self._flushing: dict[_Bucket, _Row] = {}
        self._last: dict[str, _Row] = {}
        self._through: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None
        table, log = store.session.table("positions"), store.session.table("log")
        partitions = store.session.table("log_partitions")
        self._insert = (
            f"INSERT INTO {table} (tenant, stream, bucket, version, partition, sequence)"
            " VALUES (?, ?, ?, ?, ?, ?)"
        )
        part = f"FROM {table} WHERE tenant = ? AND stream = ? AND bucket = ?"
        self._newest = f"SELECT version {part} ORDER BY version DESC LIMIT 1"
        self._from = f"SELECT version, partition, sequence {part} AND version >= ? LIMIT ?"
        self._move = (
            f"INSERT INTO {partitions} (tenant, partition, positioned) VALUES (?, ?, ?)"
            " USING TIMESTAMP ?"
        )
        self._positioned = f"SELECT positioned FROM {partitions} WHERE tenant = ? AND partition = ?"
        self._walk = (
            f"SELECT sequence, stream, version FROM {log} WHERE tenant = ? AND partition = ?"
            " AND bucket = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?"
        )
        self._above = (
            f"SELECT stream, version, sequence FROM {log} WHERE tenant = ? AND partition = ?"
            " AND bucket = ? AND sequence > ? AND sequence <= ?"
        )

    async def take_over(self, partition: int, end: int) -> None:
        """Notes what nobody may have flushed of a log partition that ends at `end`.

        Raises:
            StoreUnavailableError: The log cannot be read.
        """
        # What is noted stays true and is flushed; but somebody else may know a later version.
        self._last = {s: row for s, row in self._last.items() if row.partition != partition}
        rows = await self._session.read(self._positioned, (self._tenant, partition))
        after = (rows[0][0] or 0) if rows else 0
        for bucket in range(after // self.entries_per_bucket, end // self.entries_per_bucket + 1):
            values = (self._tenant, partition, bucket, after, end)
            async for page in self._session.pages(self._above, values):
                self.note(partition, [(row[0], row[1], row[2]) for row in page], page[-1][2])

    def note(self, partition: int, entries: Iterable[Noted], through: int) -> None:
        """Notes entries of the log up to `through`, in their order; they are flushed later."""
        noted, last, per_bucket = self._noted, self._last, self._per_bucket
        for stream, version, sequence in entries:
            bucket = _Bucket(stream, (version - 1) // per_bucket)
            noted[bucket] = last[stream] = _Row(version, partition, sequence)
        self._through[partition] = through
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="positions: flush")

    async def close(self) -> None:
        """Flushes what is noted, as far as Cassandra takes it, and ends."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        with suppress(StoreUnavailableError, OutcomeUnknownError):
            await self.flush()

    async def flush(self) -> None:
        """Writes what is noted.

        Raises:
            StoreUnavailableError: Not all was written; it stays noted.
            OutcomeUnknownError: The same.
        """
        noted, self._noted, self._flushing = self._noted, {}, self._noted
        through, self._through = self._through, {}
        try:
            await self._write(noted)
            for partition, sequence in through.items():
                values = (self._tenant, partition, sequence, sequence)
                await self._session.write((self._move, values))
        except BaseException:
            self._noted = {**noted, **self._noted}
            self._through = {**through, **self._through}
            raise
        finally:
            self._flushing = {}
        for (stream, _), row in noted.items():
            if self._last.get(stream) == row:
                del self._last[stream]

    async def versions(self, streams: Sequence[str]) -> list[int]:
        """Returns the last version of each stream that is in the log, as far as it is known.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        return await asyncio.gather(*[self._version(stream) for stream in streams])

    async def places(self, places: Sequence[StreamPlace]) -> list[LogPlace | None]:
        """Returns where the versions of streams are, as far as it is known.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        asked: dict[_Bucket, set[int]] = {}
        for stream, version in places:
            bucket = _Bucket(stream, (version - 1) // self._per_bucket)
            asked.setdefault(bucket, set()).add(version)
        answers = await asyncio.gather(*[self._in_bucket(*one) for one in asked.items()])
        found: dict[StreamPlace, LogPlace] = {}
        for answer in answers:
            found |= answer
        return [found.get(place) for place in places]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._flush_seconds)
            if not self._noted:
                continue
            try:
                await self.flush()
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                _log.warning("positions are written later: %s", error)
            except Exception:
                _log.exception("a defect: positions cannot be written, trying again")

    async def _write(self, noted: dict[_Bucket, _Row]) -> None:
        rows = list(noted.items())
        for first in range(0, len(rows), _FLUSH_ROWS):
            writes = [
                self._session.write(
                    *[(self._insert, (self._tenant, *bucket, *row)) for bucket, row in batch]
                )
                for batch in batched(rows[first : first + _FLUSH_ROWS], _size)
            ]
            await asyncio.gather(*writes)

    async def _version(self, stream: str) -> int:
        known = self._last.get(stream)
        if known is not None:
            return known.version
        last, number = 0, 0
        while True:
            values = (self._tenant, stream, number)
            rows = await self._session.read(self._newest, values)
            last = rows[0][0] if rows else last
            # Each bucket's last version has a row, so a bucket without it is the last one.
            if not rows or last < (number + 1) * self._per_bucket:
                return last
            number += 1

    async def _in_bucket(self, bucket: _Bucket, wanted: set[int]) -> dict[StreamPlace, LogPlace]:
        """Finds versions that belong into one bucket."""
        low, high = min(wanted), max(wanted)
        values = (self._tenant, *bucket, low, high - low + 1)
        rows = [_Row(*row) for row in await self._session.read(self._from, values)]
        known = {row.version: row for row in rows}
        for source in (self._flushing, self._noted):
            if bucket in source:
                known[source[bucket].version] = source[bucket]
        stream = bucket.stream
        found = {
            StreamPlace(stream, version): LogPlace(*known[version][1:])
            for version in wanted
            if version in known
        }
        missing = sorted(wanted - known.keys())
        for row in [known[version] for version in sorted(known)]:
            below = [version for version in missing if version < row.version]
            if below:
                found |= await self._walked(stream, row, set(below))
                missing = missing[len(below) :]
        return found

    async def _walked(
        self, stream: str, row: _Row, wanted: set[int]
    ) -> dict[StreamPlace, LogPlace]:
        """Finds versions that stand before a row's place in the log."""
        found: dict[StreamPlace, LogPlace] = {}
        async for sequence, name, version in self._backwards(row.partition, row.sequence):
            if name == stream:
                if version in wanted:
                    found[StreamPlace(stream, version)] = LogPlace(row.partition, sequence)
                if version <= min(wanted):
                    break
        return found

    async def _backwards(self, partition: int, before: int) -> AsyncIterator[tuple[int, str, int]]:
        bucket = before // self.entries_per_bucket
        while bucket >= 0:
            values = (self._tenant, partition, bucket, before, _WALK_ROWS)
            rows = await self._session.read(self._walk, values)
            for sequence, stream, version in rows:
                before = sequence
                yield sequence, stream, version
            if len(rows) < _WALK_ROWS:
                bucket -= 1


def _size(noted: tuple[_Bucket, _Row]) -> int:
    return _ROW_BYTES + len(noted[0].stream)
