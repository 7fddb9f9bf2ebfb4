"""One append; promise: one conditional batch in one Cassandra partition decides all of it.

The batch moves the head from the expected version, inserts the command rows if they are not there,
and inserts the events. When it is refused, its answer holds the head and the command rows that
were there: every outcome is known after one round trip.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from eventspine.storage.cassandra.buckets import Buckets, Layout
from eventspine.storage.cassandra.session import Verdict
from eventspine.storage.cassandra.statements import Part
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.records import (
    GENESIS,
    Append,
    CommandIdReused,
    CommandRow,
    Conflict,
    Head,
    Outcome,
    Replayed,
    Stored,
)

_NOTHING = Layout((), None)


class Appender:
    """Decides appends of one tenant."""

    def __init__(self, store: CassandraStore, buckets: Buckets) -> None:
        """Writes into an open keyspace."""
        self._session = store.session
        self._tenant = store.tenant
        self._buckets = buckets
        events = store.session.table("events")
        key = "tenant = ? AND stream = ? AND bucket = ?"
        self._move = f"UPDATE {events} SET head = ?, chain = ? WHERE {key} IF head = ?"
        # An append without events before the first event: the head has to stay null.
        self._stay = f"UPDATE {events} SET chain = null WHERE {key} IF head = null"
        self._command = (
            f"INSERT INTO {events} (tenant, stream, bucket, kind, version, command_id,"
            " digest, last_version, event_count, append_time_us)"
            " VALUES (?, ?, ?, 0, 0, ?, ?, ?, ?, ?) IF NOT EXISTS"
        )
        self._event = (
            f"INSERT INTO {events} (tenant, stream, bucket, kind, version, command_id,"
            " type, encoded) VALUES (?, ?, ?, 1, ?, '', ?, ?)"
        )
        self._known = (
            "SELECT command_id, digest, last_version, event_count, append_time_us"
            f" FROM {events} WHERE tenant = ? AND stream = ? AND bucket IN ?"
            " AND kind = 0 AND version = 0 AND command_id IN ?"
        )

    async def append(self, append: Append) -> Outcome:
        """Stores an append or not; see the port.

        Raises:
            OutcomeUnknownError: It may have been stored, or may be later.
            StoreUnavailableError: It was not stored.
        """
        stream, expected = append.stream, append.expected_version
        number = self._buckets.number(expected)
        before = await self._buckets.before(stream, expected) if number else _NOTHING
        if before is None:
            return await self._refused(append)
        begins = before.end.version == expected
        if before.full:
            known = await self._known_of(append, [*before.numbers, number])
            if known:
                return _repeated(append, known)
        verdict = await self._session.decide(*self._batch(append, number, begins=begins))
        if verdict.applied:
            return Stored(None)
        if not append.commands:
            # Only what was in a condition is shown: the head's version, and not its chain.
            return await self._refused(append)
        head = _head_of(verdict)
        if head is not None and self._buckets.number(head.version) > number:
            # The stream goes on in other buckets, which may know one of the commands.
            return await self._refused(append)
        known = _known_in(verdict)
        return _repeated(append, known) if known else Conflict(head or before.end)

    async def command(self, stream: str, command_id: str) -> CommandRow | None:
        """Returns what is remembered of a command; see the port."""
        for row in await self._read_known(stream, [0], [command_id]):
            return row
        others = (await self._buckets.walk(stream)).numbers[1:]
        if others:
            for row in await self._read_known(stream, others, [command_id]):
                return row
        return None

    def _batch(self, append: Append, number: int, *, begins: bool) -> Iterable[Part]:
        """Makes the batch; the same for the same append, however often."""
        key = (self._tenant, append.stream, number)
        if append.records or not begins:
            version = append.expected_version + len(append.records)
            expected = None if begins else append.expected_version
            yield self._move, (version, append.chain, *key, expected)
        else:
            yield self._stay, key
        for command in append.commands:
            yield self._command, (*key, *command)
        for record in append.records:
            yield self._event, (*key, *record)

    async def _refused(self, append: Append) -> Outcome:
        """Says why an append cannot be stored, from all buckets of its stream."""
        layout = await self._buckets.walk(append.stream)
        known = await self._known_of(append, layout.numbers)
        if known:
            return _repeated(append, known)
        if layout.end.version == append.expected_version:
            # The stream has come to it just now.
            return await self.append(append)
        return Conflict(layout.end)

    async def _known_of(self, append: Append, numbers: list[int]) -> dict[str, CommandRow]:
        ids = [command.command_id for command in append.commands]
        return {row.command_id: row for row in await self._read_known(append.stream, numbers, ids)}

    async def _read_known(
        self, stream: str, numbers: list[int], ids: list[str]
    ) -> list[CommandRow]:
        rows = await self._session.read(self._known, (self._tenant, stream, numbers, ids))
        return list(map(CommandRow._make, rows))


def _repeated(append: Append, known: Mapping[str, CommandRow]) -> Replayed | CommandIdReused:
    """Returns the outcome of an append of which some command is known: the first one decides."""
    command, row = next(
        (command, row) for command in append.commands if (row := known.get(command.command_id))
    )
    return Replayed(row) if row.is_of(command.digest) else CommandIdReused(row)


def _known_in(verdict: Verdict) -> dict[str, CommandRow]:
    """Returns the command rows that stood in the way of a batch."""
    return {row["command_id"]: _command_row(row) for row in verdict.rows if row.get("command_id")}


def _command_row(row: Mapping[str, Any]) -> CommandRow:
    return CommandRow(
        row["command_id"],
        row["digest"],
        row["last_version"],
        row["event_count"],
        row["append_time_us"],
    )


def _head_of(verdict: Verdict) -> Head | None:
    """Returns the head as it stands in the bucket; None when no event does."""
    for row in verdict.rows:
        if row.get("head"):
            return Head(row["head"], row["chain"] or GENESIS)
    return None
