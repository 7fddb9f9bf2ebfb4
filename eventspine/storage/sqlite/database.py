"""The store file; promise: it is ours alone, of our format, and complete, or it is not opened."""

import os
import secrets
import sqlite3
from pathlib import Path

from eventspine.storage.errors import StoreFormatError
from eventspine.storage.identity import StoreIdentity
from eventspine.storage.sqlite.append import AppendGroups
from eventspine.storage.sqlite.ownership import Ownership, checked_path
from eventspine.storage.sqlite.reader import Query, SqliteReader, T
from eventspine.storage.sqlite.schema import APPLICATION_ID, FORMAT, TABLES
from eventspine.storage.sqlite.writer import CHECKPOINT_PAGES, SqliteWriter, Statements

DURABILITY = (
    "an acknowledged event is in the file, with an fsync of the write-ahead log "
    "(SQLite, synchronous=FULL)"
)

_CACHE_KIB = 65_536
"""Memory for pages, of the writer; the reader has a quarter."""


class SqliteDatabase:
    """An open store file with its writer and its reader. To be used on one event loop.

    Attributes:
        writer: The one writer.
        appends: What it knows of the streams, which must be one for all that append.
    """

    def __init__(
        self,
        writer: SqliteWriter,
        reader: SqliteReader,
        ownership: Ownership,
        identity: StoreIdentity,
    ) -> None:
        """Puts the parts together; `open` makes them."""
        self.writer = writer
        self.appends = AppendGroups(writer)
        self._reader = reader
        self._ownership = ownership
        self._identity = identity
        self._closed = False

    @classmethod
    def open(cls, path: Path, *, pages_max: int | None = None) -> "SqliteDatabase":
        """Opens a store file, or makes a new one.

        Args:
            path: The file. Its folder must exist.
            pages_max: How many pages of 4 KiB the file may have; None for as many as there is room.

        Raises:
            OwnedError: Another process, or this one, has the file open. Nothing was opened.
            StoreFormatError: The path cannot hold a store, or the file is something else, of
                another format version, or left behind by a restore. Nothing was changed.
        """
        path = checked_path(path)
        ownership = Ownership(path)
        try:
            connection = _connect(path)
            try:
                identity = _prepare(connection, path)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            ownership.release()
            raise
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if pages_max is not None:
            connection.execute(f"PRAGMA max_page_count = {pages_max}")
        reading = _connect(path)
        reading.execute("PRAGMA query_only = ON")
        reading.execute(f"PRAGMA cache_size = -{_CACHE_KIB // 4}")
        return cls(SqliteWriter(connection), SqliteReader(reading), ownership, identity)

    @property
    def identity(self) -> StoreIdentity:
        """What the store is, as of its opening."""
        return self._identity

    @property
    def commits(self) -> int:
        """How many transactions have been committed since the file was opened."""
        return self.writer.commits

    async def read(self, query: Query[T]) -> T:
        """Runs a query on the reader's thread and returns what it returns.

        The query gets a connection and must fetch all it wants before it returns. Queries that
        wait share one snapshot, taken after they were asked for.

        Raises:
            StoreUnavailableError: The store cannot read at the moment.
        """
        return await self._reader.read(query)

    async def write(self, statements: Statements[T], *, durable: bool) -> T:
        """Runs statements on the writer's thread and returns what they return.

        The statements get a connection that is in a transaction, and must not end it. Those that
        wait with the same `durable` share one; when one raises, what it changed is undone, its
        caller gets the exception, and the others go on.

        Args:
            statements: What to run.
            durable: Whether to wait for the disk. Without, a power failure (not a crash of the
                process) may undo it, together with all that came after it.

        Raises:
            OutcomeUnknownError: It may have been stored.
            StoreUnavailableError: Nothing was stored.
        """
        return await self.writer.write(statements, durable=durable)

    async def close(self) -> None:
        """Closes the file after all that was asked is done. Calling it again is harmless."""
        await self._reader.close()
        # The last connection to close copies the write-ahead log into the file.
        await self.writer.close()
        if not self._closed:
            self._closed = True
            self._ownership.release()


def _connect(path: Path) -> sqlite3.Connection:
    # Each connection is used by one thread at a time, but not by the one that opens it.
    return sqlite3.connect(
        path, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=256
    )


def _prepare(connection: sqlite3.Connection, path: Path) -> StoreIdentity:
    try:
        new = _is_new(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {2 * CHECKPOINT_PAGES * 4096}")
        if new:
            _create(connection, path)
        return _identity(connection, path)
    except sqlite3.DatabaseError as error:
        raise StoreFormatError(
            f"{path} cannot be opened as a store: {error}; use another file, or a backup"
        ) from error


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Tells a new file from a store; nothing is changed.

    Raises:
        StoreFormatError: It is neither.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == 0 and tables == 0:
        return True
    if application != APPLICATION_ID:
        raise StoreFormatError(f"{path} is a database of another program; use another file")
    if version != FORMAT:
        raise StoreFormatError(
            f"{path} has format {version}, and this program reads format {FORMAT}; "
            "open it with the version that wrote it, back it up, and restore the backup with this"
        )
    return False


def _create(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT}")
    for table in TABLES:
        connection.execute(table)
    connection.execute("INSERT INTO store VALUES (1, ?, 0)", (secrets.token_hex(16),))
    connection.execute("COMMIT")
    # SQLite makes the contents durable, not the folder's entry of a new file.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _identity(connection: sqlite3.Connection, path: Path) -> StoreIdentity:
    store_id, restoring = connection.execute("SELECT store_id, restoring FROM store").fetchone()
    if restoring:
        raise StoreFormatError(
            f"{path} holds a restore that did not finish; delete the file and restore again"
        )
    ancestors: dict[str, tuple[int, ...]] = {}
    rows = connection.execute("SELECT store_id, sequence FROM ancestors ORDER BY 1, partition")
    for ancestor, sequence in rows:
        ancestors[ancestor] = (*ancestors.get(ancestor, ()), sequence)
    return StoreIdentity(
        backend="sqlite",
        location=str(path),
        durability=DURABILITY,
        store_id=store_id,
        ancestors=ancestors,
    )
