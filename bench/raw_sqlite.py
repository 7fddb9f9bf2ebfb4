"""The raw halves on SQLite: the same rows in the same table, WAL and FULL, and nothing else."""

import sqlite3
import time
from pathlib import Path

from bench.accounts import ACCOUNTS, account_id
from bench.rounds import Half

EVENT_TYPE = "bank.v1.MoneyDeposited"

_TABLES = (
    """CREATE TABLE events (sequence INTEGER PRIMARY KEY, stream TEXT NOT NULL,
        stream_version INTEGER NOT NULL, type TEXT NOT NULL, encoded BLOB NOT NULL)""",
    "CREATE UNIQUE INDEX events_by_stream ON events (stream, stream_version)",
)
_INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?)"

Row = tuple[int, str, int, str, bytes]


class RawEvents:
    """A file with an events table, written by one thread."""

    def __init__(self, path: Path, record_bytes: int) -> None:
        """Makes the file; every record has the same size."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        for statement in _TABLES:
            self._connection.execute(statement)
        self._record = bytes(index * 97 % 251 for index in range(record_bytes))
        self._end = 0

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def insert(self, count: int, group: int) -> Half:
        """Inserts events, so many a commit. The rows are made beforehand."""
        before = self._end
        rows = [self._row() for _ in range(count)]
        connection = self._connection
        began = time.perf_counter()
        for first in range(0, count, group):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_INSERT, rows[first : first + group])
            connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        (stored,) = connection.execute(
            "SELECT count(*) FROM events WHERE sequence > ?", (before,)
        ).fetchone()
        return Half(count, seconds, stored)

    def _row(self) -> Row:
        self._end += 1
        version, account = divmod(self._end, ACCOUNTS)
        stream = f"account/{account_id(account)}"
        return (self._end, stream, version + 1, EVENT_TYPE, self._record)
