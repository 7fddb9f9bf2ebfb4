"""Loads a backup into a keyspace; promise: all of it as it was, or it is refused.

The backup's tenant may have no events there; other tenants may, and notice nothing. From the first
step to the last the tenant is marked, and its store has an id that no process knows: a service
opens it only when all is there. Events go in as appends do, so that each version is checked against
the one before; the log is extended as a sequencer does it. A restore that was cut off leaves its
mark: another one of the same backup compares what is there, and goes on behind it.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from operator import attrgetter

from eventspine.storage.cassandra.events import CassandraEventStore
from eventspine.storage.cassandra.loaded import Loaded
from eventspine.storage.cassandra.log import CassandraEventLog
from eventspine.storage.cassandra.positions import CassandraPositions
from eventspine.storage.cassandra.store import CassandraStore, tenant_row, tenant_words
from eventspine.storage.codec import verify
from eventspine.storage.errors import LogMovedError, NotEmptyError, RestoreOrderError
from eventspine.storage.records import (
    GENESIS,
    Append,
    CommandRow,
    Conflict,
    Head,
    LogEntry,
    NewRecord,
    NumberedCommand,
    Stored,
    StreamRecord,
)
from eventspine.storage.stack import StackSettings

APPEND_RECORDS = 100
"""How many records of a stream are stored by one batch."""

EXTEND_ENTRIES = 500
"""How many entries go into the log by one batch."""

READ_RECORDS = 500

_CHAIN_HASH_BYTES = 32


class CassandraLoader:
    """Fills a keyspace for a tenant: `records` and `commands`, then `verify`, then `finish`.

    Attributes:
        partitions: How many log partitions it has.
    """

    def __init__(self, store: CassandraStore) -> None:
        """Uses an open keyspace, which others close; `loading` is the way to one."""
        self.partitions = store.partitions
        self._session = store.session
        self._tenant = store.tenant
        self._store_id = secrets.token_hex(16)
        self._events = CassandraEventStore(store)
        self._positions = CassandraPositions(store)
        self._log = CassandraEventLog(store, self._positions)
        self._ends = [0] * store.partitions
        self._heads: dict[str, Head] = {}
        self._loaded: Loaded | None = None

    async def begin(self) -> None:
        """Marks the tenant as being restored.

        Raises:
            NotEmptyError: It has events or entries of the log, and not from a restore that was cut
                off; or another restore has just begun. Nothing was changed.
            StoreUnavailableError: Nothing was changed.
            OutcomeUnknownError: Nothing was changed, or only the mark was made.
        """
        table, row = self._session.table("store"), tenant_row(self._tenant)
        select = f"SELECT store_id, restoring FROM {table} WHERE only = ?"
        rows = await self._session.read(select, (row,))
        earlier, cut_off = rows[0] if rows else (None, None)
        ends = await self._log.ends()
        filled = any(ends) or bool(await self._events.heads(limit=1))
        if filled and not cut_off:
            raise NotEmptyError(
                f"{tenant_words(self._tenant)} has events in keyspace {self._session.keyspace};"
                " restore into a new keyspace, or drop this one first, unless other tenants have"
                " their events in it"
            )
        # In the place of an earlier one, which was cut off, and of that one alone: null for none.
        mark = f"UPDATE {table} SET store_id = ?, restoring = ? WHERE only = ? IF store_id = ?"
        verdict = await self._session.decide((mark, (self._store_id, True, row, earlier)))
        if not verdict.applied:
            raise NotEmptyError(
                f"{tenant_words(self._tenant)} is being restored into keyspace"
                f" {self._session.keyspace} by another process; wait for its end"
            )
        if filled:
            # What it did not come to note of positions is made good from the log.
            partitions = range(self.partitions)
            ends = tuple([await self._log.take_over(partition) for partition in partitions])
            self._loaded = Loaded(self._events, self._log, ends)

    async def behind(self, ends: Sequence[int]) -> list[LogEntry]:
        """Returns what a restore that was cut off has put into the log behind some ends.

        Raises:
            StoreUnavailableError: It is not known.
        """
        entries: list[LogEntry] = []
        for partition, end in enumerate(ends):
            while self._loaded and (
                page := await self._log.read(partition, after=end, limit=READ_RECORDS)
            ):
                entries += page
                end = page[-1].sequence
        return entries

    async def records(self, entries: Sequence[LogEntry]) -> None:
        """Stores records and puts them into the log.

        Raises:
            RestoreOrderError: A version or a sequence does not follow the one before.
            StoreUnavailableError: Not all of them are there.
            OutcomeUnknownError: The same, perhaps.
        """
        streams: dict[str, list[LogEntry]] = {}
        for entry in entries:
            streams.setdefault(entry.stream, []).append(entry)
        await asyncio.gather(*[self._append(*stream) for stream in streams.items()])
        partition_of = attrgetter("partition")
        ordered = sorted(entries, key=attrgetter("partition", "sequence"))
        for partition, group in groupby(ordered, partition_of):
            await self._extend(partition, list(group))

    async def commands(self, commands: Sequence[NumberedCommand]) -> None:
        """Stores what is remembered of commands.

        Raises:
            RestoreOrderError: A command is there with other content, or its stream is behind it.
            StoreUnavailableError: Not all of them are there.
            OutcomeUnknownError: The same, perhaps.
        """
        streams: dict[str, list[CommandRow]] = {}
        for _, stream, row in commands:
            streams.setdefault(stream, []).append(row)
        await asyncio.gather(*[self._remember(*stream) for stream in streams.items()])

    @property
    def streams(self) -> int:
        """How many streams were loaded."""
        return len(self._heads)

    async def verify(self, advance: Callable[[int], None]) -> None:
        """Reads every stream, recomputes its chain, and looks that there is no other stream.

        Args:
            advance: Told how many more were read, again and again.

        Raises:
            ChainBrokenError: A record is not what was loaded.
            RestoreOrderError: A stream is not as long as what was loaded.
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        streams = list(self._heads)
        for first in range(0, len(streams), APPEND_RECORDS):
            some = streams[first : first + APPEND_RECORDS]
            await asyncio.gather(*[self._verify(stream) for stream in some])
            advance(len(some))
        found = await self._all_heads()
        if sorted(found) != sorted(streams):
            raise RestoreOrderError(
                f"{len(streams)} streams were loaded, and {len(found)} are there"
            )

    async def finish(self, ancestors: Mapping[str, tuple[int, ...]]) -> None:
        """Notes the stores that the events come from, and lets services open the store.

        Args:
            ancestors: By store id, the ends of the log partitions up to which this store has the
                same events.

        Raises:
            RestoreOrderError: Another restore has begun meanwhile. The tenant stays marked.
            StoreUnavailableError: The tenant stays marked.
            OutcomeUnknownError: The same, perhaps.
        """
        await self._positions.flush()
        row = tenant_row(self._tenant)
        insert = (
            f"INSERT INTO {self._session.table('ancestors')} (only, store_id, ends)"
            " VALUES (?, ?, ?)"
        )
        for store_id, ends in ancestors.items():
            await self._session.write((insert, (row, store_id, list(ends))))
        unmark = (
            f"UPDATE {self._session.table('store')} SET restoring = ? WHERE only = ?"
            " IF store_id = ?"
        )
        verdict = await self._session.decide((unmark, (None, row, self._store_id)))
        if not verdict.applied:
            raise RestoreOrderError(
                f"another restore of {tenant_words(self._tenant)} has begun meanwhile; let one"
                " process restore into a new keyspace"
            )

    async def close(self) -> None:
        """Ends what it has begun."""
        await self._positions.close()

    async def _append(self, stream: str, entries: Sequence[LogEntry]) -> None:
        for first in range(0, len(entries), APPEND_RECORDS):
            some = entries[first : first + APPEND_RECORDS]
            before = self._heads.get(stream, Head(0, GENESIS))
            there = await self._loaded.records(stream, some) if self._loaded else 0
            records = [NewRecord(e.stream_version, e.type, e.encoded) for e in some[there:]]
            chain = some[-1].encoded[-_CHAIN_HASH_BYTES:]
            if records:
                expected = before.version + there
                await self._stored(Append(stream, expected, tuple(records), (), chain))
            self._heads[stream] = Head(some[-1].stream_version, chain)

    async def _remember(self, stream: str, rows: Sequence[CommandRow]) -> None:
        head = self._heads.get(stream, Head(0, GENESIS))
        for first in range(0, len(rows), APPEND_RECORDS):
            some = tuple(rows[first : first + APPEND_RECORDS])
            late = [row.command_id for row in some if row.last_version > head.version]
            if late:
                raise RestoreOrderError(f"{stream} ends before command {late[0]}")
            there = head
            if self._loaded:
                some = tuple(await self._loaded.missing(stream, some))
                # More of the stream may be there already.
                there = await self._events.head(stream)
            if some:
                await self._stored(Append(stream, there.version, (), some, there.chain))

    async def _stored(self, append: Append) -> None:
        (outcome,) = await self._events.append([append])
        if isinstance(outcome, Stored):
            return
        if isinstance(outcome, Conflict):
            why = (
                f"it is at version {outcome.actual.version} where {append.expected_version} is due;"
                " another process writes to it"
            )
        else:
            why = f"command {outcome.command.command_id} comes twice"
        raise RestoreOrderError(f"stream {append.stream} cannot be loaded: {why}")

    async def _extend(self, partition: int, entries: Sequence[LogEntry]) -> None:
        for first in range(0, len(entries), EXTEND_ENTRIES):
            some = entries[first : first + EXTEND_ENTRIES]
            end = self._ends[partition]
            if [entry.sequence for entry in some] != [*range(end + 1, end + len(some) + 1)]:
                raise RestoreOrderError(f"partition {partition} of the log has a gap after {end}")
            there = await self._loaded.entries(partition, some) if self._loaded else 0
            if there < len(some):
                try:
                    await self._log.extend(partition, end + there, some[there:])
                except LogMovedError as error:
                    raise RestoreOrderError(f"{error}; another process writes to it") from error
            self._ends[partition] = some[-1].sequence

    async def _verify(self, stream: str) -> None:
        version, chain = 0, GENESIS
        while records := await self._events.read(stream, after=version, limit=READ_RECORDS):
            read: list[StreamRecord] = list(records)
            verify(stream, read, chain, version)
            version, chain = read[-1].stream_version, read[-1].encoded[-_CHAIN_HASH_BYTES:]
        if Head(version, chain) != self._heads[stream]:
            raise RestoreOrderError(
                f"{stream} ends at {version}, and was loaded up to {self._heads[stream].version}"
            )

    async def _all_heads(self) -> list[str]:
        names: list[str] = []
        after = ""
        while heads := await self._events.heads(after=after, limit=READ_RECORDS):
            names += [head.stream for head in heads]
            after = heads[-1].stream
        return names


@asynccontextmanager
async def loading(settings: StackSettings) -> AsyncIterator[CassandraLoader]:
    """Opens a keyspace to be filled, and makes it where it does not exist.

    Args:
        settings: Which one; `partitions` are those of the backup.

    Raises:
        NotEmptyError: The tenant has events in it, and not from a restore that was cut off. Nothing
            was changed.
        StackSetupError: Cassandra cannot be reached, or the keyspace is otherwise.
        StoreUnavailableError: Cassandra cannot answer at the moment.
    """
    store = await CassandraStore.open(settings, restoring=True)
    loader = CassandraLoader(store)
    try:
        await loader.begin()
        yield loader
    finally:
        await loader.close()
        await store.close()
