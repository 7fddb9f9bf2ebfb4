"""Loads a backup into an empty store file; promise: the same sequences, or a file that is refused.

From the first step to the last the file is marked, so that a restore that was cut off can never
be opened as a store.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from eventspine.storage.errors import NotEmptyError, RestoreOrderError
from eventspine.storage.records import LogEntry, NumberedCommand
from eventspine.storage.sqlite.append import INSERT_EVENT, SELECT_END
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.insert import Insert

_INSERT_COMMAND = Insert(
    "commands",
    ("number", "stream", "command_id", "digest", "last_version", "event_count", "append_time_us"),
)

_SELECT_LAST_COMMAND = "SELECT ifnull(max(number), 0) FROM commands"


class SqliteLoader:
    """Fills an empty store file: `begin`, then `records` and `commands`, then `finish`.

    Nothing else may use the file meanwhile; after `finish` it must be closed and opened again.
    """

    def __init__(self, db: SqliteDatabase) -> None:
        """Uses an open file, which others close."""
        self._db = db

    async def begin(self) -> None:
        """Marks the file as being restored.

        Raises:
            NotEmptyError: The store has events or commands. Nothing was changed.
            StoreUnavailableError: Nothing was changed.
        """

        def statements(connection: sqlite3.Connection) -> None:
            (end,) = connection.execute(SELECT_END).fetchone()
            (last,) = connection.execute(_SELECT_LAST_COMMAND).fetchone()
            if end or last:
                raise NotEmptyError(
                    f"the store has {end} events and {last} commands; restore into a new file"
                )
            connection.execute("UPDATE store SET restoring = 1")

        await self._db.write(statements, durable=True)

    async def records(self, entries: Sequence[LogEntry]) -> None:
        """Loads log entries of partition 0, the first one following the last one loaded.

        Raises:
            RestoreOrderError: A sequence is missing, or a stream version is there twice.
            StoreUnavailableError: Nothing of these entries was loaded.
        """
        # Without the partition, and without the mark of those that are still on their way.
        rows = [entry[1:-1] for entry in entries]

        def statements(connection: sqlite3.Connection) -> None:
            (end,) = connection.execute(SELECT_END).fetchone()
            for expected, entry in enumerate(entries, end + 1):
                if entry.sequence != expected or entry.partition != 0:
                    raise RestoreOrderError(
                        f"log entry {entry.partition}/{entry.sequence} comes where 0/{expected} is "
                        "due"
                    )
            _insert(connection, INSERT_EVENT, rows)

        await self._db.write(statements, durable=False)

    async def commands(self, commands: Sequence[NumberedCommand]) -> None:
        """Loads commands with their numbers.

        Raises:
            RestoreOrderError: A number or a command is there twice.
            StoreUnavailableError: Nothing of these commands was loaded.
        """
        rows = [(command.number, command.stream, *command.row) for command in commands]

        def statements(connection: sqlite3.Connection) -> None:
            _insert(connection, _INSERT_COMMAND, rows)

        await self._db.write(statements, durable=False)

    async def finish(self, ancestors: Mapping[str, tuple[int, ...]]) -> None:
        """Notes the stores that the events come from and makes all that was loaded durable.

        Args:
            ancestors: By store id, the ends of the log partitions up to which this store has the
                same events.

        Raises:
            OutcomeUnknownError: The file may or may not open as a store.
            StoreUnavailableError: The file stays marked as being restored.
        """
        rows = [
            (store_id, partition, sequence)
            for store_id, ends in ancestors.items()
            for partition, sequence in enumerate(ends)
        ]

        def statements(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT INTO ancestors VALUES (?, ?, ?)", rows)
            connection.execute("UPDATE store SET restoring = 0")

        await self._db.write(statements, durable=True)


def _insert(
    connection: sqlite3.Connection, insert: Insert, rows: Sequence[tuple[object, ...]]
) -> None:
    try:
        insert.run(connection, rows)
    except sqlite3.IntegrityError as error:
        raise RestoreOrderError(f"something is loaded twice: {error}") from error
