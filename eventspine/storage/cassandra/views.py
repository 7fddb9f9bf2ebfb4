"""Rows of views, in Cassandra; promise: what counts as saved is whole, whoever else saves.

A row is what the log makes of it: any process that folds a build up to a sequence gets the same
row. So rows may be written by two processes at once, and ahead of the progress: the later sequence
wins, and both are right. What a save does in order is therefore enough without a condition on each
row: first the index and the rows, then the parked keys, then the progress, which only ever grows.
For the same reason the progress may be written a moment later, once for many saves: a process that
dies before that has the next one fold some events again, which the rows know already.
A process that was replaced finds out from the progress, which it reads again every second; until
then its writes are true and lose. Parked keys are not made by the log alone, because an operator
releases them: they change by a conditional write, which a replaced process loses.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from eventspine.storage.cassandra.batches import batched
from eventspine.storage.cassandra.parked import CassandraParked, Lot
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.cassandra.view_keys import CassandraKeys
from eventspine.storage.cassandra.view_list import CassandraList, Wanted
from eventspine.storage.cassandra.view_rows import CassandraRows
from eventspine.storage.cassandra.view_tables import SHARDS, ViewTable
from eventspine.storage.errors import (
    OutcomeUnknownError,
    ProgressMovedError,
    StoreUnavailableError,
)
from eventspine.storage.records import KeyedRow, PartialRow, ViewBatch

CHECK_SECONDS = 1.0
"""How old what this process knows of a build's progress may be when it saves."""

FLUSH_SECONDS = 0.2
"""How long after a save the progress is written; other processes see it then."""

_WRITES_MAX = 5_000
"""How many rows one call writes at a time; the session bounds what is on its way."""

_PROGRESS_BYTES = 100
"""What a row of the progress takes, about."""

_log = logging.getLogger("eventspine.views")

_Part = tuple[str, int]
"""A build and a log partition."""


@dataclass(slots=True)
class _Known:
    """What this process knows of a build in one log partition.

    Attributes:
        progress: The sequence that it has passed.
        until: By the event loop's time, when it has to be read again.
        lot: What is parked, as far as it was read.
    """

    progress: int
    until: float
    lot: Lot | None = field(default=None)


class CassandraViewStore:
    """The ViewStore of a keyspace, for one tenant."""

    def __init__(
        self,
        store: CassandraStore,
        tables: Mapping[str, ViewTable],
        *,
        check_seconds: float = CHECK_SECONDS,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        """Keeps rows in an open keyspace, which others close.

        Args:
            store: The keyspace.
            tables: The tables of the declared views, by view; they must be there.
            check_seconds: How old the known progress of a build may be when it is saved to.
            flush_seconds: How long after a save its progress is written; 0 writes it at once.
        """
        self._session = store.session
        self._tenant = store.tenant
        self._partitions = store.partitions
        self._check_seconds = check_seconds
        self._flush_seconds = flush_seconds
        self._unflushed: dict[_Part, int] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._rows = {
            view: CassandraRows(store.session, store.tenant, table)
            for view, table in tables.items()
        }
        self._keys = CassandraKeys(store.session, store.tenant)
        self._list = CassandraList(self._keys)
        self._parked = CassandraParked(store)
        self._known: dict[_Part, _Known] = {}
        table = store.session.table("view_progress")
        self._progress = (
            f"SELECT partition, sequence, dropped FROM {table} WHERE tenant = ? AND build = ?"
        )
        self._move = (
            f"INSERT INTO {table} (tenant, build, partition, sequence) VALUES (?, ?, ?, ?)"
            " USING TIMESTAMP ?"
        )
        self._mark = f"UPDATE {table} SET dropped = true WHERE tenant = ? AND build = ?"
        self._unmove = f"DELETE FROM {table} WHERE tenant = ? AND build = ? AND partition = ?"

    async def load(
        self, build_id: str, partition: int, keys: Sequence[bytes]
    ) -> dict[bytes, PartialRow]:
        """Returns the partials of one partition that exist, by key, deleted ones included."""
        rows, number = self._of(build_id)
        found = await rows.load(number, partition, keys)
        known = self._known.get((build_id, partition))
        progress = 0 if known is None else known.progress
        key_of = rows.table.partition_key
        counted = [key_of(key) for key, row in found.items() if row.sequence <= progress]
        # Rows ahead of the progress are of a save that was cut off, and may not be in the index.
        ahead = [key_of(key) for key, row in found.items() if row.sequence > progress]
        await self._index(build_id, ahead)
        self._keys.remember(build_id, counted)
        return found

    async def save(self, batches: Sequence[ViewBatch]) -> None:
        """Saves each batch whole; see the port.

        Other processes may see the progress some `flush_seconds` later than the rows.

        Raises:
            ProgressMovedError: A batch did not start at the build's progress, or the build is gone,
                or its parked keys were changed by somebody else. No progress was moved.
            StoreUnavailableError: No progress was moved; rows may have been written.
            OutcomeUnknownError: The progress may have been moved, which reading it tells.
        """
        try:
            await self._check(batches)
            await self._write_rows(batches)
            for batch in batches:
                if batch.parked:
                    await self._park(batch)
            self._advance(batches)
            if not self._flush_seconds or any(batch.parked for batch in batches):
                # Events would be parked anew that somebody has released meanwhile.
                await self.flush()
        except BaseException:
            for batch in batches:
                self._known.pop((batch.build_id, batch.partition), None)
            raise

    async def get(self, build_id: str, key: bytes) -> tuple[PartialRow, ...]:
        """Returns the partials of one row that exist and are not deleted; empty without a row."""
        rows, number = self._of(build_id)
        return await rows.get(number, key)

    async def list(
        self, build_id: str, *, prefix: bytes = b"", after: bytes = b"", limit: int = 500
    ) -> list[KeyedRow]:
        """Reads rows whose key starts with `prefix` and is above `after`, in order of the key."""
        rows, number = self._of(build_id)
        return await self._list.read(rows, Wanted(build_id, number, prefix, after, limit))

    async def progress(self, build_id: str) -> tuple[int, ...]:
        """Returns the sequence that a build has passed, for each partition; 0 for not begun."""
        return (await self._read_progress(build_id))[0]

    async def flush(self) -> None:
        """Writes the progress of what was saved.

        Raises:
            StoreUnavailableError: Not all was written; it is tried again.
            OutcomeUnknownError: The same.
        """
        unflushed = dict(self._unflushed)
        parts = [
            (self._move, (self._tenant, build_id, partition, through, through))
            for (build_id, partition), through in unflushed.items()
        ]
        await asyncio.gather(
            *[self._session.write(*batch) for batch in batched(parts, lambda _: _PROGRESS_BYTES)]
        )
        for part, through in unflushed.items():
            # What was saved meanwhile is still to be written.
            if self._unflushed.get(part) == through:
                del self._unflushed[part]

    async def close(self) -> None:
        """Writes the progress of what was saved, as far as Cassandra takes it, and ends."""
        task, self._flushing = self._flushing, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        with suppress(StoreUnavailableError, OutcomeUnknownError):
            await self.flush()

    async def drop(self, build_id: str) -> None:
        """Deletes rows, progress and parked keys of a build, which can then not be saved to.

        Begun anew after a crash, it goes on.
        """
        place = (self._tenant, build_id)
        await self._session.write((self._mark, place))
        rows, number = self._of(build_id)
        for shard in range(SHARDS):
            async for keys in self._keys.shard(build_id, shard):
                await rows.delete(number, keys)
            await self._keys.delete(build_id, shard)
        for partition in range(self._partitions):
            self._unflushed.pop((build_id, partition), None)
            lot = await self._parked.read(build_id, partition)
            if lot.entries:
                released = dict.fromkeys([entry.key for entry in lot.entries])
                await self._parked.change(build_id, partition, lot, released)
            await self._session.write((self._unmove, (*place, partition)))
            self._known.pop((build_id, partition), None)
        self._keys.forget(build_id)

    def _of(self, build_id: str) -> tuple[CassandraRows, int]:
        """Returns the rows of a build's view, and the build's number."""
        view, _, number = build_id.rpartition("@")
        return self._rows[view], int(number)

    async def _check(self, batches: Sequence[ViewBatch]) -> None:
        """Follows the progress through the batches, since one may start where another ends."""
        progress: dict[tuple[str, int], int] = {}
        for batch in batches:
            place = batch.build_id, batch.partition
            if place not in progress:
                progress[place] = (await self._looked_up(*place)).progress
            if progress[place] != batch.after:
                raise ProgressMovedError(
                    f"build {batch.build_id} has passed {progress[place]} of partition "
                    f"{batch.partition}, not {batch.after}"
                )
            progress[place] = batch.through

    async def _looked_up(self, build_id: str, partition: int) -> _Known:
        now = asyncio.get_running_loop().time()
        known = self._known.get((build_id, partition))
        if known is None or known.until < now:
            progress, dropped = await self._read_progress(build_id)
            if dropped:
                raise ProgressMovedError(f"build {build_id} is gone")
            lot = None if known is None else known.lot
            known = _Known(progress[partition], now + self._check_seconds, lot)
            self._known[build_id, partition] = known
        return known

    async def _read_progress(self, build_id: str) -> tuple[tuple[int, ...], bool]:
        """Returns the progress by partition, and whether the build was dropped."""
        rows = await self._session.read(self._progress, (self._tenant, build_id))
        if any(dropped for *_, dropped in rows):
            return (0,) * self._partitions, True
        passed = {partition: sequence or 0 for partition, sequence, _ in rows}
        saved = self._unflushed.get
        return tuple(
            max(passed.get(partition, 0), saved((build_id, partition), 0))
            for partition in range(self._partitions)
        ), False

    async def _write_rows(self, batches: Iterable[ViewBatch]) -> None:
        await asyncio.gather(*[self._write_batch(batch) for batch in batches if batch.rows])

    async def _write_batch(self, batch: ViewBatch) -> None:
        rows, number = self._of(batch.build_id)
        keys = dict.fromkeys(map(rows.table.partition_key, batch.rows))
        items = iter(batch.rows.items())
        indexing = self._index(batch.build_id, keys)
        # Both before the progress, in any order: a row ahead of it is put into the index by `load`.
        await asyncio.gather(indexing, rows.write(number, islice(items, _WRITES_MAX)))
        while part := list(islice(items, _WRITES_MAX)):
            await rows.write(number, part)

    async def _index(self, build_id: str, keys: Iterable[bytes]) -> None:
        new = self._keys.unknown(build_id, keys)
        if new:
            await self._keys.write(build_id, new)
            self._keys.remember(build_id, new)

    async def _park(self, batch: ViewBatch) -> None:
        build_id, partition = batch.build_id, batch.partition
        known = self._known[build_id, partition]
        lot = known.lot or await self._parked.read(build_id, partition)
        known.lot = await self._parked.change(build_id, partition, lot, batch.parked)

    def _advance(self, batches: Sequence[ViewBatch]) -> None:
        """Moves the progress on in memory, from where it is flushed."""
        for build_id, partition, _, through, *_ in batches:
            self._known[build_id, partition].progress = through
            self._unflushed[build_id, partition] = through
        if self._flushing is None and self._flush_seconds:
            self._flushing = asyncio.create_task(self._keep_flushing(), name="views: flush")

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(self._flush_seconds)
            try:
                await self.flush()
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                _log.warning("the progress of views is written later: %s", error)
            except Exception:
                _log.exception("a defect: the progress of views cannot be written, trying again")
