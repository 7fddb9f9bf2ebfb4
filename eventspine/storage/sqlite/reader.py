"""The one reader of a store file; promise: a read sees all that was acknowledged before it."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from eventspine.storage.sqlite.failures import unreadable
from eventspine.storage.sqlite.handoff import Handoff

T = TypeVar("T")

Query = Callable[[sqlite3.Connection], T]


class SqliteReader:
    """A connection that never writes, and its thread.

    All reads that wait share one snapshot of the file. It is taken after they were asked for, so
    that each of them sees every append that was answered before.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Takes over a connection in autocommit mode, which nothing else may use from now on."""
        self._connection = connection
        self._handoff = Handoff("eventspine-reader")

    async def read(self, query: Query[T]) -> T:
        """Runs a query on the reader's thread; see `SqliteDatabase.read`."""
        result: T = await self._handoff.submit(self._run, query)
        return result

    async def close(self) -> None:
        """Ends the thread, after all that was submitted is done, and closes the connection."""
        await self._handoff.close()
        self._connection.close()

    def _run(self, queries: list[Query[Any]]) -> Sequence[Any]:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            return [self._answer(query) for query in queries]
        finally:
            # SQLite has ended the snapshot by itself after some errors.
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _answer(self, query: Query[Any]) -> Any:
        try:
            return query(self._connection)
        except sqlite3.Error as error:
            return unreadable(error)
        # One bad query must not take the answers of the others with it.
        except Exception as error:
            return error
