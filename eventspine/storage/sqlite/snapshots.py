"""Snapshots, in the file; promise: the latest of each stream, at no cost of an fsync."""

import sqlite3

from eventspine.storage.records import Snapshot
from eventspine.storage.sqlite.database import SqliteDatabase

_LOAD = """SELECT stream, stream_version, code_version, chain, state
    FROM snapshots WHERE stream = ?"""

_SAVE = """INSERT INTO snapshots VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (stream) DO UPDATE SET stream_version = excluded.stream_version,
        code_version = excluded.code_version, chain = excluded.chain, state = excluded.state
    WHERE excluded.stream_version >= stream_version"""


class SqliteSnapshotStore:
    """The port `SnapshotStore` on a store file."""

    def __init__(self, db: SqliteDatabase) -> None:
        """Uses an open file, which others close."""
        self._db = db

    async def load(self, stream: str) -> Snapshot | None:
        """Returns the latest snapshot; see the port."""

        def query(connection: sqlite3.Connection) -> Snapshot | None:
            row = connection.execute(_LOAD, (stream,)).fetchone()
            return Snapshot(*row) if row else None

        return await self._db.read(query)

    async def save(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot in place of an older one; see the port. Power failure may lose it."""

        def statements(connection: sqlite3.Connection) -> None:
            connection.execute(_SAVE, snapshot)

        await self._db.write(statements, durable=False)
