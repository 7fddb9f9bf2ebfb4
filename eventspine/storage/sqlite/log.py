"""The log, in the file; promise: the events table itself, in the order of its commits."""

import sqlite3
from collections.abc import Sequence
from itertools import chain, repeat

from eventspine.storage.errors import DeclinedError
from eventspine.storage.records import LogEntry, LogPlace, StreamPlace
from eventspine.storage.sqlite.append import SELECT_END
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.events import INTEGER_MAX

# All fields of a LogEntry, in its order.
_READ = """SELECT 0, sequence, stream, stream_version, type, encoded, FALSE FROM events
    WHERE sequence > ? ORDER BY sequence LIMIT ?"""

_READ_ENCODED = "SELECT encoded FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"

_PLACE = "SELECT sequence FROM events WHERE stream = ? AND stream_version = ?"
_VERSION = "SELECT max(stream_version) FROM events WHERE stream = ?"

_DECLINED = "a store file has its log in the events table: SqliteEventStore.append fills it"


class SqliteEventLog:
    """The port `EventLog` on a store file: one partition, filled by the event store's appends."""

    def __init__(self, db: SqliteDatabase) -> None:
        """Uses an open file, which others close."""
        self._db = db

    async def extend(self, partition: int, after: int, entries: Sequence[LogEntry]) -> None:
        """Declines; see the port.

        Raises:
            DeclinedError: Always. Nothing was written.
        """
        raise DeclinedError(_DECLINED)

    async def take_over(self, partition: int) -> int:
        """Declines; see the port.

        Raises:
            DeclinedError: Always.
        """
        raise DeclinedError(_DECLINED)

    async def read(self, partition: int, *, after: int = 0, limit: int = 500) -> list[LogEntry]:
        """Reads entries above `after`; see the port. Partitions other than 0 do not exist.

        Raises:
            IndexError: The partition does not exist.
        """
        arguments = _range(partition, after, limit)

        def query(connection: sqlite3.Connection) -> list[LogEntry]:
            # Made without a call of Python for each.
            return list(map(tuple.__new__, repeat(LogEntry), connection.execute(_READ, arguments)))

        return await self._db.read(query)

    async def read_encoded(
        self, partition: int, *, after: int = 0, limit: int = 500
    ) -> list[bytes]:
        """Reads the records above `after`, encoded; see the port and `read`.

        A row of one column costs a third of one with all.

        Raises:
            IndexError: The partition does not exist.
        """
        arguments = _range(partition, after, limit)

        def query(connection: sqlite3.Connection) -> list[bytes]:
            return list(chain.from_iterable(connection.execute(_READ_ENCODED, arguments)))

        return await self._db.read(query)

    async def ends(self) -> tuple[int, ...]:
        """Returns the last sequence; see the port."""

        def query(connection: sqlite3.Connection) -> tuple[int, ...]:
            end: tuple[int, ...] = connection.execute(SELECT_END).fetchone()
            return end

        return await self._db.read(query)

    async def positions(self, places: Sequence[StreamPlace]) -> list[LogPlace | None]:
        """Returns where in the log each version of a stream is; see the port."""

        def query(connection: sqlite3.Connection) -> list[LogPlace | None]:
            rows = (connection.execute(_PLACE, place).fetchone() for place in places)
            return [LogPlace(0, row[0]) if row else None for row in rows]

        return await self._db.read(query)

    async def versions(self, streams: Sequence[str]) -> list[int]:
        """Returns the last version of each stream that is in the log; see the port."""

        def query(connection: sqlite3.Connection) -> list[int]:
            found = (connection.execute(_VERSION, (stream,)).fetchone() for stream in streams)
            return [last or 0 for (last,) in found]

        return await self._db.read(query)


def _range(partition: int, after: int, limit: int) -> tuple[int, int]:
    """Returns the arguments of a statement that reads.

    Raises:
        IndexError: The partition does not exist.
    """
    if partition != 0:
        raise IndexError(f"a store file has log partition 0 only, not {partition}")
    return min(after, INTEGER_MAX), min(limit, INTEGER_MAX)
