"""Step 3 in the file: appends that wait become one transaction, each with its own verdict.

A group is first judged in memory, as the process owns the file and knows the heads of busy
streams; what that cannot see (a command id stored long ago) the file's own indexes refuse. Then
the whole group is rolled back and judged again with a look at the file for each append. Sequences
are given out at the commit only, so that they stay dense.
"""

import sqlite3
from collections.abc import Sequence

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
from eventspine.storage.sqlite.failures import copies
from eventspine.storage.sqlite.insert import Insert
from eventspine.storage.sqlite.writer import SqliteWriter

INSERT_EVENT = Insert("events", ("sequence", "stream", "stream_version", "type", "encoded"))

INSERT_COMMAND = Insert(
    "commands",
    ("stream", "command_id", "digest", "last_version", "event_count", "append_time_us"),
)

SELECT_COMMAND = """SELECT command_id, digest, last_version, event_count, append_time_us
    FROM commands WHERE stream = ? AND command_id = ?"""

SELECT_HEAD = """SELECT stream_version, substr(encoded, -32)
    FROM events WHERE stream = ? ORDER BY stream_version DESC LIMIT 1"""

SELECT_END = "SELECT ifnull(max(sequence), 0) FROM events"

_HEADS_MAX = 100_000
"""How many versions of streams each of the two generations in memory holds: about 10 MB."""


def select_head(connection: sqlite3.Connection, stream: str) -> Head:
    """Returns the end of a stream as it is in the file."""
    row = connection.execute(SELECT_HEAD, (stream,)).fetchone()
    return Head(*row) if row else Head(0, GENESIS)


def select_command(
    connection: sqlite3.Connection, stream: str, command_id: str
) -> CommandRow | None:
    """Returns what is remembered of a command in the file."""
    row = connection.execute(SELECT_COMMAND, (stream, command_id)).fetchone()
    return CommandRow(*row) if row else None


class AppendGroups:
    """Commits groups of appends. All methods but the first are for the writer's work."""

    def __init__(self, writer: SqliteWriter) -> None:
        """Begins without anything in memory."""
        self._writer = writer
        self._careful = False
        self._end: int | None = None
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def commit(self, calls: list[Sequence[Append]]) -> list[list[Outcome] | Exception]:
        """Stores the appends of all calls that wait; returns outcomes or an error for each call."""
        appends = [append for call in calls for append in call]
        try:
            outcomes = iter(self._store(appends))
        except Exception as error:
            # Whatever was stored, the file is asked again before the next append.
            self._forget()
            return list(copies(error, len(calls)))
        return [[next(outcomes) for _ in call] for call in calls]

    def version(self, stream: str) -> int | None:
        """Returns the version of a stream from memory; None when it is not there."""
        version = self._young.get(stream)
        return self._old.get(stream) if version is None else version

    def _store(self, appends: list[Append]) -> list[Outcome]:
        if self._careful:
            outcomes = self._attempt(appends, careful=True)
        else:
            try:
                return self._attempt(appends, careful=False)
            except sqlite3.IntegrityError:
                outcomes = self._attempt(appends, careful=True)
        # Who sends one command again, sends more of them: the next group is judged so at once.
        self._careful = any(isinstance(outcome, Replayed) for outcome in outcomes)
        return outcomes

    def _attempt(self, appends: list[Append], *, careful: bool) -> list[Outcome]:
        group = self._writer.transact(
            lambda connection: self._write(connection, appends, careful=careful), durable=True
        )
        self._end = group.end
        self._remember(group.versions)
        return group.outcomes

    def _write(
        self, connection: sqlite3.Connection, appends: list[Append], *, careful: bool
    ) -> "_Group":
        if self._end is None:
            (self._end,) = connection.execute(SELECT_END).fetchone()
        group = _Group(self, connection, end=self._end, careful=careful)
        group.outcomes = [group.judge(append) for append in appends]
        INSERT_COMMAND.run(connection, group.commands)
        INSERT_EVENT.run(connection, group.events)
        return group

    def _remember(self, versions: dict[str, int]) -> None:
        if len(self._young) + len(versions) > _HEADS_MAX:
            self._old, self._young = self._young, {}
        self._young.update(versions)

    def _forget(self) -> None:
        self._end = None
        self._young = {}
        self._old = {}


class _Group:
    """One group on its way into the file: verdicts, and the rows that follow from them.

    Attributes:
        outcomes: The verdict on each append.
        events: The rows of the stored events.
        commands: The rows of the stored commands.
        versions: By stream, its version after the group, where the group has looked or written.
        end: The last sequence given out.
    """

    def __init__(
        self, groups: AppendGroups, connection: sqlite3.Connection, *, end: int, careful: bool
    ) -> None:
        self.outcomes: list[Outcome] = []
        self.events: list[tuple[int, str, int, str, bytes]] = []
        self.commands: list[tuple[str, str, bytes, int, int, int]] = []
        self.versions: dict[str, int] = {}
        self.end = end
        self._groups = groups
        self._connection = connection
        self._careful = careful
        self._chains: dict[str, bytes] = {}
        self._known: dict[str, dict[str, CommandRow]] = {}

    def judge(self, append: Append) -> Outcome:
        stream, expected, records, commands, chain = append
        version = self._version(append)
        # Most streams are met once in a group: then none of their commands was seen in it.
        seen = self._known.get(stream)
        if seen is None:
            seen = self._known[stream] = {}
        if self._careful or seen or version != expected:
            refusal = self._refusal(append, version)
            if refusal is not None:
                return refusal
        for command in commands:
            seen[command.command_id] = command
            self.commands.append((stream, *command))
        if not records:
            return Stored(None)
        first = sequence = self.end + 1
        for record in records:
            self.events.append((sequence, stream, *record))
            sequence += 1
        self.end = sequence - 1
        self.versions[stream] = expected + len(records)
        self._chains[stream] = chain
        return Stored(first)

    def _refusal(self, append: Append, version: int) -> Outcome | None:
        for command in append.commands:
            known = self._command(append.stream, command.command_id)
            if known is not None:
                same = known.is_of(command.digest)
                return Replayed(known) if same else CommandIdReused(known)
        return Conflict(self._head(append.stream)) if version != append.expected_version else None

    def _version(self, append: Append) -> int:
        stream = append.stream
        version = self.versions.get(stream)
        if version is None:
            version = self._groups.version(stream)
        if version is None:
            if append.expected_version == 0 and append.records and not self._careful:
                # A new stream is the usual case; the index refuses version 1 where it is not.
                return 0
            version = select_head(self._connection, stream).version
            self.versions[stream] = version
        return version

    def _command(self, stream: str, command_id: str) -> CommandRow | None:
        known = self._known[stream].get(command_id)
        return known or select_command(self._connection, stream, command_id)

    def _head(self, stream: str) -> Head:
        chain = self._chains.get(stream)
        if chain is not None:
            return Head(self.versions[stream], chain)
        return select_head(self._connection, stream)
