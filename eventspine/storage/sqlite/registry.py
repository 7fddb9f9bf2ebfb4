"""The builds of views in the store file; promise: a change from an old revision changes nothing."""

import json
import sqlite3
from collections.abc import Sequence

from eventspine.storage.records import Build, Builds, Parked
from eventspine.storage.sqlite.database import SqliteDatabase

_PARKED = """
    SELECT key, partition, sequence, stream, stream_version, error, waiting, parked_time_us
    FROM view_parked WHERE build = (SELECT id FROM view_builds WHERE build_id = ?)
    ORDER BY key, partition"""


class SqliteViewRegistry:
    """The ViewRegistry of a store file."""

    def __init__(self, database: SqliteDatabase) -> None:
        """Keeps builds in an open store file."""
        self._database = database

    async def views(self) -> list[str]:
        """Returns the names of the views that have builds, in order."""
        return await self._database.read(
            lambda c: [view for (view,) in c.execute("SELECT DISTINCT view FROM builds ORDER BY 1")]
        )

    async def builds(self, view: str) -> Builds:
        """Returns the builds of a view, oldest first; revision 0 and none for an unknown view."""
        return await self._database.read(lambda c: _builds(c, view))

    async def put(self, view: str, revision: int, builds: Sequence[Build]) -> bool:
        """Replaces the builds of a view if they are still at `revision`. False: they are not.

        Raises:
            OutcomeUnknownError: They may have been replaced; look them up.
            StoreUnavailableError: They were not replaced.
        """
        return await self._database.write(lambda c: _put(c, view, revision, builds), durable=True)

    async def parked(self, build_id: str) -> list[Parked]:
        """Returns the parked keys of a build, in order of key and partition."""
        return await self._database.read(
            lambda c: [_parked(row) for row in c.execute(_PARKED, (build_id,))]
        )


def _builds(connection: sqlite3.Connection, view: str) -> Builds:
    rows = connection.execute(
        "SELECT number, code_version, state, paused FROM builds WHERE view = ? ORDER BY number",
        (view,),
    )
    builds = tuple(Build(number, code, state, bool(paused)) for number, code, state, paused in rows)
    return Builds(_revision(connection, view), builds)


def _revision(connection: sqlite3.Connection, view: str) -> int:
    row = connection.execute("SELECT revision FROM views WHERE view = ?", (view,)).fetchone()
    return 0 if row is None else int(row[0])


def _put(connection: sqlite3.Connection, view: str, revision: int, builds: Sequence[Build]) -> bool:
    if _revision(connection, view) != revision:
        return False
    connection.execute("INSERT OR REPLACE INTO views VALUES (?, ?)", (view, revision + 1))
    connection.execute("DELETE FROM builds WHERE view = ?", (view,))
    connection.executemany(
        "INSERT INTO builds (view, number, code_version, state, paused) VALUES (?, ?, ?, ?, ?)",
        [(view, *build) for build in builds],
    )
    return True


def _parked(row: tuple[bytes, int, int, str, int, str, str, int]) -> Parked:
    parked = Parked(*row)  # type: ignore[arg-type] # the column of waiting sequences is text
    return parked._replace(waiting=tuple(json.loads(row[6])))
