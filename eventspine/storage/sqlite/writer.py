"""The one writer of a store file; promise: all that waits is one transaction and one fsync.

Two kinds of transaction use the same connection, one after the other. Durable ones
(`synchronous=FULL`) end with an fsync of the write-ahead log. Others (`NORMAL`) do not: view rows
and snapshots can be made again from events, and the log's order keeps them behind the events that
they came from, so that a power failure can lose them but never leave them ahead.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.sqlite.failures import copies, refused, undecided
from eventspine.storage.sqlite.handoff import Handoff, Work

T = TypeVar("T")

Statements = Callable[[sqlite3.Connection], T]

CHECKPOINT_PAGES = 4_096
"""How long the write-ahead log may grow (16 MiB) before it is copied into the file and begun again.

A commit that makes the log longer waits for the file system's own journal too, which on ext4 made
it cost more than half as much again as one that writes over an older part, so the log must not be
long; nor short, because events of many streams touch many pages of the indexes, each of which is
copied once a round."""


class SqliteWriter:
    """The writing connection and its thread.

    Attributes:
        commits: How many transactions have been committed since the file was opened.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Takes over a connection in autocommit mode, which nothing else may use from now on."""
        self.commits = 0
        self._connection = connection
        self._durable: bool | None = None
        self._checkpoints = True
        self._handoff = Handoff("eventspine-writer")
        self._jobs: dict[bool, Work] = {
            durable: partial(self._run_jobs, durable=durable) for durable in (False, True)
        }

    def group(self, work: Work, item: Any) -> "asyncio.Future[Any]":
        """Lets `work` do the item in its turn, together with others that wait for it.

        `work` is called with all items that wait, and uses `transact`. The future gets what it
        returns for this one, or fails with it.
        """
        return self._handoff.submit(work, item)

    async def write(self, statements: Statements[T], *, durable: bool) -> T:
        """Runs statements in a transaction; see `SqliteDatabase.write`."""
        result: T = await self._handoff.submit(self._jobs[durable], statements)
        return result

    async def close(self) -> None:
        """Ends the thread, after all that was submitted is done, and closes the connection."""
        await self._handoff.close()
        self._connection.close()

    def transact(self, statements: Statements[T], *, durable: bool) -> T:
        """Runs statements as one transaction. Only for work that was submitted.

        Raises:
            OutcomeUnknownError: The commit failed in a way that leaves its outcome open.
            StoreUnavailableError: The disk is full, or the like. Nothing was stored.
        """
        connection = self._connection
        try:
            self._prepare(durable)
            connection.execute("BEGIN IMMEDIATE")
            result = statements(connection)
        except sqlite3.Error as error:
            self._roll_back()
            raise refused(error) from None
        except BaseException:
            self._roll_back()
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise undecided(error) from None
        self.commits += 1
        return result

    def _prepare(self, durable: bool) -> None:
        if self._durable is not durable:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        # A checkpoint takes long, so a commit on the loop leaves it to the next one in the thread.
        checkpoints = not self._handoff.on_loop
        if self._checkpoints is not checkpoints:
            pages = CHECKPOINT_PAGES if checkpoints else 0
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
            self._checkpoints = checkpoints

    def _roll_back(self) -> None:
        # SQLite has rolled back by itself after some errors.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _run_jobs(self, items: list[Statements[Any]], *, durable: bool) -> Sequence[Any]:
        try:
            if len(items) == 1:
                return [self.transact(items[0], durable=durable)]
            return self.transact(
                lambda connection: [_run_apart(connection, item) for item in items],
                durable=durable,
            )
        except (StoreUnavailableError, OutcomeUnknownError) as error:
            return copies(error, len(items))


def _run_apart(connection: sqlite3.Connection, statements: Statements[Any]) -> Any:
    """Runs one of several jobs of a transaction; its failure undoes it and leaves the others."""
    connection.execute("SAVEPOINT job")
    try:
        result = statements(connection)
    except sqlite3.OperationalError:
        # A full disk, or the like: it ends the whole transaction.
        raise
    except Exception as error:
        connection.execute("ROLLBACK TO job")
        result = error
    connection.execute("RELEASE job")
    return result
