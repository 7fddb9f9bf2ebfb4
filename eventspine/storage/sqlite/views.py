"""Rows of views in the store file; promise: rows, parked keys and progress are one transaction.

They are not waited for on disk: what a power failure undoes is folded again from the events, and it
undoes the progress together with the rows.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter

from eventspine.storage.errors import ProgressMovedError
from eventspine.storage.keys import after_prefix
from eventspine.storage.records import KeyedRow, PartialRow, ViewBatch
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.insert import Insert

_LOAD_KEYS_MAX = 256
_DROP_ROWS = 2_000
"""How many rows one transaction deletes, so that dropping a big build holds up no append."""

_BUILD = "(SELECT id FROM view_builds WHERE build_id = ? AND NOT dropped)"
_GET = f"""
    SELECT partition, sequence, encoded FROM view_rows
    WHERE build = {_BUILD} AND key = ? AND encoded IS NOT NULL ORDER BY partition"""
_LIST = f"""
    SELECT key, partition, sequence, encoded FROM view_rows
    WHERE build = {_BUILD} AND key {{begin}} ? AND encoded IS NOT NULL {{end}}
    ORDER BY key, partition"""
_PROGRESS = f"SELECT partition, sequence FROM view_progress WHERE build = {_BUILD}"
_SAVE_ROW = Insert(
    "view_rows",
    ("build", "key", "partition", "sequence", "encoded"),
    "ON CONFLICT DO UPDATE SET sequence = excluded.sequence, encoded = excluded.encoded",
)
_SAVE_PROGRESS = """
    INSERT INTO view_progress (build, partition, sequence) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET sequence = excluded.sequence"""
_PARK = "INSERT OR REPLACE INTO view_parked VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_RELEASE = "DELETE FROM view_parked WHERE build = ? AND key = ? AND partition = ?"
_MARK_DROPPED = """
    INSERT INTO view_builds (build_id, dropped) VALUES (?, 1)
    ON CONFLICT DO UPDATE SET dropped = 1 RETURNING id"""
_DROP_SOME_ROWS = """
    DELETE FROM view_rows WHERE (build, key, partition) IN (
        SELECT build, key, partition FROM view_rows
        WHERE build IN (SELECT id FROM view_builds WHERE dropped) LIMIT ?)"""


class SqliteViewStore:
    """The ViewStore of a store file, whose log has one partition."""

    def __init__(self, database: SqliteDatabase) -> None:
        """Keeps rows in an open store file."""
        self._database = database

    async def load(
        self, build_id: str, partition: int, keys: Sequence[bytes]
    ) -> dict[bytes, PartialRow]:
        """Returns the partials of one partition that exist, by key, deleted ones included."""
        if not keys:
            return {}
        return await self._database.read(lambda c: _load(c, build_id, partition, keys))

    async def save(self, batches: Sequence[ViewBatch]) -> None:
        """Saves each batch whole: rows, parked keys and progress.

        Raises:
            ProgressMovedError: A batch did not start at the build's progress, or the build is gone.
                Nothing of any batch was saved.
            StoreUnavailableError: Nothing was saved.
            OutcomeUnknownError: All was saved, or nothing; the progress tells which.
        """
        await self._database.write(lambda c: _save(c, batches), durable=False)

    async def get(self, build_id: str, key: bytes) -> tuple[PartialRow, ...]:
        """Returns the partials of one row that exist and are not deleted; empty without a row."""
        return await self._database.read(
            lambda c: tuple(map(PartialRow._make, c.execute(_GET, (build_id, key))))
        )

    async def list(
        self, build_id: str, *, prefix: bytes = b"", after: bytes = b"", limit: int = 500
    ) -> list[KeyedRow]:
        """Reads rows whose key starts with `prefix` and is above `after`, in order of the key."""
        above = after_prefix(prefix)
        # One lower bound: of two, SQLite would look up the first and pass over rows by the other.
        begin, least = (">", after) if after >= prefix else (">=", prefix)
        end, bounds = ("", ()) if above is None else ("AND key < ?", (above,))
        statement, values = _LIST.format(begin=begin, end=end), (build_id, least, *bounds)
        return await self._database.read(lambda c: _list(c.execute(statement, values), limit))

    async def progress(self, build_id: str) -> tuple[int, ...]:
        """Returns the sequence that a build has passed, for each partition; 0 for not begun."""
        rows = await self._database.read(lambda c: dict(c.execute(_PROGRESS, (build_id,))))
        return tuple(rows.get(partition, 0) for partition in range(max(rows, default=0) + 1))

    async def drop(self, build_id: str) -> None:
        """Deletes rows, progress and parked keys of a build, which can then not be saved to.

        The build is gone at once, its rows follow in portions. Rows that a drop left behind when
        the process ended are deleted by the next one.
        """
        await self._database.write(lambda c: _mark_dropped(c, build_id), durable=False)
        while await self._database.write(
            lambda c: c.execute(_DROP_SOME_ROWS, (_DROP_ROWS,)).rowcount, durable=False
        ):
            pass


def _load(
    connection: sqlite3.Connection, build_id: str, partition: int, keys: Sequence[bytes]
) -> dict[bytes, PartialRow]:
    found: dict[bytes, PartialRow] = {}
    for chunk in _chunks(keys):
        marks = ", ".join("?" * len(chunk))
        rows = connection.execute(
            f"SELECT key, sequence, encoded FROM view_rows "
            f"WHERE build = {_BUILD} AND key IN ({marks}) AND partition = ?",
            (build_id, *chunk, partition),
        )
        for key, sequence, encoded in rows:
            found[key] = PartialRow(partition, sequence, encoded)
    return found


def _chunks(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cuts keys into chunks of nine different lengths, so that few statements are prepared."""
    for first in range(0, len(keys), _LOAD_KEYS_MAX):
        chunk = keys[first : first + _LOAD_KEYS_MAX]
        length = 1 << (len(chunk) - 1).bit_length()
        yield [*chunk, *([chunk[-1]] * (length - len(chunk)))]


def _list(rows: Iterable[tuple[bytes, int, int, bytes]], limit: int) -> list[KeyedRow]:
    # The cursor steps as far as it is iterated, so nothing beyond the limit is read.
    return [
        KeyedRow(key, tuple(PartialRow._make(row[1:]) for row in partials))
        for key, partials in islice(groupby(rows, itemgetter(0)), limit)
    ]


def _save(connection: sqlite3.Connection, batches: Sequence[ViewBatch]) -> None:
    for batch in batches:
        build = _build_to_save(connection, batch.build_id)
        _check_progress(connection, build, batch)
        partition = batch.partition
        # In the order of the keys, neighbours are written to the same page one after the other.
        rows = [
            (build, key, partition, row.sequence, row.encoded)
            for key, row in sorted(batch.rows.items())
        ]
        _SAVE_ROW.run(connection, rows)
        for key, parked in batch.parked.items():
            if parked is None:
                connection.execute(_RELEASE, (build, key, partition))
            else:
                waiting = json.dumps(parked.waiting)
                row = parked._replace(waiting=waiting)  # type: ignore[arg-type] # a column of text
                connection.execute(_PARK, (build, *row))
        connection.execute(_SAVE_PROGRESS, (build, partition, batch.through))


def _build_to_save(connection: sqlite3.Connection, build_id: str) -> int:
    row: tuple[int, int] | None = connection.execute(
        "SELECT id, dropped FROM view_builds WHERE build_id = ?", (build_id,)
    ).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO view_builds (build_id, dropped) VALUES (?, 0) RETURNING id, dropped",
            (build_id,),
        ).fetchone()
        assert row is not None
    if row[1]:
        raise ProgressMovedError(f"build {build_id} is gone")
    return row[0]


def _check_progress(connection: sqlite3.Connection, build: int, batch: ViewBatch) -> None:
    row = connection.execute(
        "SELECT sequence FROM view_progress WHERE build = ? AND partition = ?",
        (build, batch.partition),
    ).fetchone()
    passed = 0 if row is None else row[0]
    if passed != batch.after:
        raise ProgressMovedError(
            f"build {batch.build_id} has passed {passed} of partition {batch.partition}, "
            f"not {batch.after}"
        )


def _mark_dropped(connection: sqlite3.Connection, build_id: str) -> None:
    (build,) = connection.execute(_MARK_DROPPED, (build_id,)).fetchone()
    connection.execute("DELETE FROM view_progress WHERE build = ?", (build,))
    connection.execute("DELETE FROM view_parked WHERE build = ?", (build,))
