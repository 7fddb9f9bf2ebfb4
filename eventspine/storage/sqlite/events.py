"""Events by stream, in the file; promise: a stored append has been on the disk before its answer.

The same rows are the log: an event's sequence is given with its append.
"""

import sqlite3
from collections.abc import Sequence

from eventspine.storage.records import (
    Append,
    CommandRow,
    Head,
    NumberedCommand,
    Outcome,
    StreamHead,
    StreamRecord,
)
from eventspine.storage.sqlite.append import select_command, select_head
from eventspine.storage.sqlite.database import SqliteDatabase

_READ_UP = """SELECT stream_version, type, encoded FROM events
    WHERE stream = ? AND stream_version > ? ORDER BY stream_version LIMIT ?"""

_READ_DOWN = """SELECT stream_version, type, encoded FROM events
    WHERE stream = ? AND stream_version < ? ORDER BY stream_version DESC LIMIT ?"""

# Goes from stream to stream by the index, without a look at the events between.
_HEADS = """WITH RECURSIVE names (name) AS (
        SELECT min(stream) FROM events WHERE stream > ?
        UNION ALL
        SELECT (SELECT min(stream) FROM events WHERE stream > name) FROM names
        WHERE name IS NOT NULL
    )
    SELECT name FROM names WHERE name IS NOT NULL LIMIT ?"""

_COMMANDS = """SELECT number, stream,
        command_id, digest, last_version, event_count, append_time_us
    FROM commands WHERE number > ? ORDER BY number LIMIT ?"""

INTEGER_MAX = 2**63 - 1
"""The greatest number in an SQLite column; the contract's versions could be greater."""


class SqliteEventStore:
    """The port `EventStore` on a store file. It sequences as it appends."""

    def __init__(self, db: SqliteDatabase) -> None:
        """Uses an open file, which others close."""
        self._db = db
        self._commit = db.appends.commit

    @property
    def commits(self) -> int:
        """How many transactions of all kinds have been committed since the file was opened."""
        return self._db.commits

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Stores each append or not, on its own, in one group with all that waits; see the port."""
        outcomes: list[Outcome] = await self._db.writer.group(self._commit, appends)
        return outcomes

    async def read(
        self, stream: str, *, after: int = 0, limit: int = 500, backwards: bool = False
    ) -> list[StreamRecord]:
        """Reads a part of a stream; see the port."""
        start = min(after, INTEGER_MAX)
        if backwards and after == 0:
            start = INTEGER_MAX
        statement = _READ_DOWN if backwards else _READ_UP
        arguments = (stream, start, min(limit, INTEGER_MAX))

        def query(connection: sqlite3.Connection) -> list[StreamRecord]:
            return list(map(StreamRecord._make, connection.execute(statement, arguments)))

        return await self._db.read(query)

    async def head(self, stream: str) -> Head:
        """Returns the end of a stream; see the port."""
        return await self._db.read(lambda connection: select_head(connection, stream))

    async def heads(self, *, after: str = "", limit: int = 500) -> list[StreamHead]:
        """Scans the streams that have events, in order of their names; see the port."""

        def query(connection: sqlite3.Connection) -> list[StreamHead]:
            names = connection.execute(_HEADS, (after, min(limit, INTEGER_MAX))).fetchall()
            return [StreamHead(name, *select_head(connection, name)) for (name,) in names]

        return await self._db.read(query)

    async def command(self, stream: str, command_id: str) -> CommandRow | None:
        """Returns what is remembered of a command; see the port."""
        return await self._db.read(
            lambda connection: select_command(connection, stream, command_id)
        )

    async def commands(self, *, after: int = 0, limit: int = 500) -> list[NumberedCommand]:
        """Scans the commands in the order in which they were stored; see the port."""

        def query(connection: sqlite3.Connection) -> list[NumberedCommand]:
            rows = connection.execute(_COMMANDS, (after, min(limit, INTEGER_MAX)))
            return [
                NumberedCommand(number, stream, CommandRow(*row)) for number, stream, *row in rows
            ]

        return await self._db.read(query)
