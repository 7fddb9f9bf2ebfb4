"""The log, in Cassandra; promise: dense sequences, and an append only behind the end.

Entries are put behind the end by one conditional batch in one Cassandra partition. Its condition
names the end and the batch that made it, and it leaves its own name there. So whoever does not know
what became of a batch sends the very same once more: it is carried out, or its own name is found.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from eventspine.storage.cassandra.positions import CassandraPositions
from eventspine.storage.cassandra.session import Row
from eventspine.storage.cassandra.settle import SETTLE_SECONDS, settled
from eventspine.storage.cassandra.statements import Part
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.errors import LogMovedError, OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.records import LogEntry, LogPlace, StreamPlace

_SEQUENCE_MAX = 2**63 - 1
_PAGE_BYTES = 8 * 1024 * 1024
_PAGE_ROWS_MAX = 5_000


class _End(NamedTuple):
    """Where a log partition ends: the bucket that is written next, and what its condition is.

    `head` and `batch` are None where nothing is in the bucket; the end is then that of the one
    before, at `sequence`.
    """

    bucket: int
    sequence: int
    head: int | None
    batch: bytes | None


class CassandraEventLog:
    """The port `EventLog` on a keyspace, for one tenant."""

    def __init__(
        self,
        store: CassandraStore,
        positions: CassandraPositions,
        *,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Uses an open keyspace, which others close, as they do the positions.

        Args:
            store: The keyspace.
            positions: Where the versions of its streams are.
            settle_seconds: How long a batch of unknown outcome is sent again.
        """
        self._settle_seconds = settle_seconds
        self._per_bucket = positions.entries_per_bucket
        self._session = store.session
        self._tenant = store.tenant
        self._partitions = store.partitions
        self._positions = positions
        self._ends: dict[int, _End] = {}
        self._buckets: dict[int, int] = {}
        self._record_bytes = _PAGE_BYTES // 1_000
        log, hints = store.session.table("log"), store.session.table("log_partitions")
        key = "tenant = ? AND partition = ? AND bucket = ?"
        self._move = (
            f"UPDATE {log} SET head = ?, last_batch = ? WHERE {key} IF head = ? AND last_batch = ?"
        )
        self._insert = (
            f"INSERT INTO {log} (tenant, partition, bucket, sequence, stream, version, type,"
            " encoded) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self._head = f"SELECT DISTINCT head, last_batch FROM {log} WHERE {key}"
        behind = f"FROM {log} WHERE {key} AND sequence > ? LIMIT ?"
        self._read = f"SELECT sequence, stream, version, type, encoded {behind}"
        self._read_encoded = f"SELECT sequence, encoded {behind}"
        self._hint = f"SELECT bucket FROM {hints} WHERE tenant = ? AND partition = ?"
        self._begin = (
            f"INSERT INTO {hints} (tenant, partition, bucket) VALUES (?, ?, ?) USING TIMESTAMP ?"
        )

    async def extend(self, partition: int, after: int, entries: Sequence[LogEntry]) -> None:
        """Puts entries behind the end; see the port.

        Entries that go over the end of a bucket are written in parts, of which a leading one stays
        when a later one fails.
        """
        if partition not in self._ends:
            await self.take_over(partition)
        begun = False
        for part in _by_bucket(entries, self._per_bucket):
            try:
                await self._put(partition, after, part)
            except (LogMovedError, StoreUnavailableError) as error:
                self._ends.pop(partition, None)
                if begun:
                    raise OutcomeUnknownError(f"a leading part is in the log: {error}") from error
                raise
            except BaseException:
                self._ends.pop(partition, None)
                raise
            begun, after = True, part[-1].sequence

    async def take_over(self, partition: int) -> int:
        """Gets ready to extend a partition, and returns its end; see the port."""
        end = await self._end(partition)
        await self._positions.take_over(partition, end.sequence)
        self._ends[partition] = end
        return end.sequence

    async def read(self, partition: int, *, after: int = 0, limit: int = 500) -> list[LogEntry]:
        """Reads entries above `after`; see the port."""
        rows = await self._rows(self._read, partition, after, limit)
        return [LogEntry(partition, *row) for row in rows]

    async def read_encoded(
        self, partition: int, *, after: int = 0, limit: int = 500
    ) -> list[bytes]:
        """Reads the records above `after`, encoded; see the port."""
        rows = await self._rows(self._read_encoded, partition, after, limit)
        return [encoded for _, encoded in rows]

    async def ends(self) -> tuple[int, ...]:
        """Returns the last sequence of each partition; see the port."""
        ends = await asyncio.gather(*map(self._end, range(self._partitions)))
        return tuple([end.sequence for end in ends])

    async def positions(self, places: Sequence[StreamPlace]) -> list[LogPlace | None]:
        """Returns where in the log each version of a stream is; see the port."""
        return await self._positions.places(places)

    async def versions(self, streams: Sequence[str]) -> list[int]:
        """Returns the last version of each stream that is in the log; see the port."""
        return await self._positions.versions(streams)

    async def _put(self, partition: int, after: int, entries: Sequence[LogEntry]) -> None:
        """Puts entries of one bucket behind the end."""
        end = self._ends[partition]
        if end.sequence != after:
            raise _moved(partition, end.sequence, after)
        last, batch = entries[-1].sequence, secrets.token_bytes(8)
        key = (self._tenant, partition, end.bucket)
        parts: list[Part] = [(self._move, (last, batch, *key, end.head, end.batch))]
        insert = self._insert
        parts += [(insert, (*key, *entry[1:6])) for entry in entries]
        if not await settled(
            self._session, parts, "last_batch", batch, seconds=self._settle_seconds
        ):
            raise _moved(partition, "another place", after)
        if end.head is None:
            # Quickens the search for the end; where it is lost, the search goes bucket by bucket.
            hint = (self._tenant, partition, end.bucket, end.bucket + 1)
            with suppress(OutcomeUnknownError, StoreUnavailableError):
                await self._session.write((self._begin, hint))
        self._ends[partition] = self._behind(end.bucket, last, batch)
        self._buckets[partition] = self._ends[partition].bucket
        noted = [(entry.stream, entry.stream_version, entry.sequence) for entry in entries]
        self._positions.note(partition, noted, last)

    def _behind(self, bucket: int, sequence: int, batch: bytes) -> _End:
        """Returns the end behind a batch that was just put."""
        if (sequence + 1) % self._per_bucket:
            return _End(bucket, sequence, sequence, batch)
        return _End(bucket + 1, sequence, None, None)

    async def _end(self, partition: int) -> _End:
        """Looks where a partition ends, from the last bucket on that is known to have begun."""
        bucket = self._buckets.get(partition)
        if bucket is None:
            rows = await self._session.read(self._hint, (self._tenant, partition))
            bucket = (rows[0][0] or 0) if rows else 0
        while True:
            self._buckets[partition] = bucket
            rows = await self._session.read(self._head, (self._tenant, partition, bucket))
            head, batch = rows[0] if rows else (None, None)
            if head is None:
                # Only a full bucket leads here, or the first one.
                return _End(bucket, max(bucket * self._per_bucket - 1, 0), None, None)
            if (head + 1) % self._per_bucket:
                return _End(bucket, head, head, batch)
            bucket += 1

    async def _rows(self, cql: str, partition: int, after: int, limit: int) -> list[Row]:
        """Reads rows above `after`, bucket by bucket; the first column is the sequence."""
        rows: list[Row] = []
        while after < _SEQUENCE_MAX and len(rows) < limit:
            part = await self._part(cql, partition, after, limit - len(rows))
            rows += part
            if not part:
                break
            after = part[-1][0]
            if len(rows) < limit and (after + 1) % self._per_bucket:
                break
        return rows

    async def _part(self, cql: str, partition: int, after: int, limit: int) -> list[Row]:
        """Reads rows of one bucket; none at the end. The last column is the encoded record."""
        bucket = (after + 1) // self._per_bucket
        rows_max = max(1, min(limit, _PAGE_BYTES // self._record_bytes, _PAGE_ROWS_MAX))
        values = (self._tenant, partition, bucket, after, min(limit, self._per_bucket))
        rows: list[Row] = []
        async for page in self._session.pages(cql, values, rows_max=rows_max):
            rows += page
        if rows:
            self._record_bytes = 1 + sum([len(row[-1]) for row in rows]) // len(rows)
            if rows[-1][0] != after + len(rows):
                raise StoreUnavailableError(
                    f"partition {partition} of the log has a hole behind {after}",
                    cause="a replica lacks entries; run nodetool repair",
                )
        return rows


def _by_bucket(entries: Sequence[LogEntry], per_bucket: int) -> list[Sequence[LogEntry]]:
    """Cuts entries where a new bucket begins."""
    parts: list[Sequence[LogEntry]] = []
    while entries:
        room = per_bucket - entries[0].sequence % per_bucket
        parts.append(entries[:room])
        entries = entries[room:]
    return parts


def _moved(partition: int, found: object, after: int) -> LogMovedError:
    return LogMovedError(f"log partition {partition} ends at {found}, not at {after}")
