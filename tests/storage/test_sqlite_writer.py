"""The writer of a store file: groups, verdicts, dense sequences, and a disk that is full."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.records import Append, Conflict, NewRecord, Replayed, Stored
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.events import SqliteEventStore
from eventspine.storage.sqlite.failures import undecided
from eventspine.storage.sqlite.log import SqliteEventLog
from tests.storage.appends import append_of, stored


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    db = SqliteDatabase.open(tmp_path / "store.db")
    yield db
    await db.close()


async def test_appends_that_wait_share_a_commit(db: SqliteDatabase) -> None:
    store = SqliteEventStore(db)
    before = db.commits
    calls = [store.append([append_of(f"a/{number}", 0, "c")]) for number in range(500)]
    outcomes = [outcome for (outcome,) in await asyncio.gather(*calls)]
    assert sorted(outcome.first_sequence for outcome in outcomes) == list(range(1, 501))
    assert db.commits - before <= 3


async def test_each_of_those_that_share_a_commit_has_its_own_verdict(db: SqliteDatabase) -> None:
    store = SqliteEventStore(db)
    old = append_of("a/1", 0, "old")
    await stored(store, [old])
    calls = [[old], [append_of("a/1", 0, "late")], [], [append_of("a/2", 0, "new")]]
    outcomes = await asyncio.gather(*map(store.append, calls))
    assert outcomes[0] == [Replayed(old.commands[0])]
    assert outcomes[2] == []
    assert outcomes[3] == [Stored(2)]


async def test_sequences_stay_dense_after_appends_that_were_refused(db: SqliteDatabase) -> None:
    store = SqliteEventStore(db)
    known = append_of("a/1", 0, "known")
    await stored(store, [known])
    for number in range(5):
        # The known command makes the file refuse the whole group at first.
        appends = [append_of(f"b/{number}", 0, "c", events=2), append_of("a/1", 1, "known")]
        await store.append(appends)
        await store.append([append_of("b/0", 0, f"x{number}", events=9)])
    entries = await SqliteEventLog(db).read(0)
    assert [entry.sequence for entry in entries] == list(range(1, 12))


async def test_a_caller_that_goes_away_does_not_disturb_the_others(db: SqliteDatabase) -> None:
    store = SqliteEventStore(db)
    gone = asyncio.create_task(store.append([append_of("a/1", 0, "c")]))
    stays = asyncio.create_task(store.append([append_of("a/2", 0, "c")]))
    await asyncio.sleep(0)
    gone.cancel()
    assert [type(outcome) for outcome in await stays] == [Stored]
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_job_that_fails_is_undone_and_leaves_those_beside_it(db: SqliteDatabase) -> None:
    def keeps(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO views VALUES ('kept', 1)")
        return "done"

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO views VALUES ('undone', 1)")
        raise LookupError("not this one")

    results = await asyncio.gather(
        db.write(fails, durable=False), db.write(keeps, durable=False), return_exceptions=True
    )
    assert isinstance(results[0], LookupError)
    assert results[1] == "done"
    with pytest.raises(LookupError):
        await db.write(fails, durable=False)
    views = await db.read(
        lambda connection: connection.execute("SELECT view FROM views").fetchall()
    )
    assert views == [("kept",)]


async def test_a_query_that_fails_leaves_those_beside_it(db: SqliteDatabase) -> None:
    results = await asyncio.gather(
        db.read(lambda connection: connection.execute("SELECT 1 FROM nowhere").fetchall()),
        db.read(lambda connection: connection.execute("SELECT 1").fetchall()),
        return_exceptions=True,
    )
    assert isinstance(results[0], sqlite3.OperationalError)
    assert results[1] == [(1,)]


async def test_a_query_whose_disk_error_ended_the_snapshot_leaves_those_beside_it(
    db: SqliteDatabase,
) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        """Does what SQLite does by itself after a disk error: it ends the transaction."""
        connection.execute("ROLLBACK")
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    results = await asyncio.gather(
        db.read(lambda connection: connection.execute("SELECT 1").fetchall()),
        db.read(broken),
        db.read(lambda connection: connection.execute("SELECT 2").fetchall()),
        return_exceptions=True,
    )
    assert results[0] == [(1,)]
    assert isinstance(results[1], StoreUnavailableError)
    assert results[2] == [(2,)]


async def test_what_failed_in_no_known_way_is_looked_up_again_in_the_file(
    db: SqliteDatabase,
) -> None:
    """The heads in memory are behind the file, as only a defect could make them."""
    store = SqliteEventStore(db)
    await stored(store, [append_of("a/1", 0, "c1")])
    beside = append_of("a/1", 1, "c2").records[0]
    await db.write(
        lambda connection: connection.execute(
            "INSERT INTO events VALUES (2, 'a/1', ?, ?, ?)", beside
        ),
        durable=True,
    )
    with pytest.raises(sqlite3.IntegrityError):
        await store.append([append_of("a/1", 1, "c3")])
    (outcome,) = await store.append([append_of("a/1", 1, "c3")])
    assert isinstance(outcome, Conflict)
    assert outcome.actual.version == 2


async def test_the_reader_cannot_write(db: SqliteDatabase) -> None:
    with pytest.raises(StoreUnavailableError, match="readonly"):
        await db.read(lambda connection: connection.execute("DELETE FROM events").fetchall())


def large(stream: str, command_id: str) -> Append:
    append = append_of(stream, 0, command_id)
    record = NewRecord(1, append.records[0].type, bytes(400_000))
    return append._replace(records=(record,))


async def test_on_a_full_disk_nothing_is_stored_and_with_room_it_goes_on(tmp_path: Path) -> None:
    db = SqliteDatabase.open(tmp_path / "store.db", pages_max=200)
    store = SqliteEventStore(db)
    await stored(store, [append_of("a/1", 0, "c")])
    refused = await asyncio.gather(
        store.append([append_of("a/2", 0, "c")]),
        store.append([large("a/3", "c1"), large("a/4", "c1"), large("a/5", "c1")]),
        return_exceptions=True,
    )
    for error in refused:
        assert isinstance(error, StoreUnavailableError)
        assert error.metadata == {"cause": "disk full"}
    assert [head.stream for head in await store.heads()] == ["a/1"]
    assert await store.append([append_of("a/2", 0, "c")]) == [Stored(2)]

    await db.write(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone(), durable=False)
    assert await store.append([large("a/3", "c1")]) == [Stored(3)]
    assert await SqliteEventLog(db).ends() == (3,)
    await db.close()


def test_a_commit_that_fails_at_the_disk_is_unknown_and_one_for_lack_of_room_is_not() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    assert isinstance(undecided(error), OutcomeUnknownError)
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert isinstance(undecided(error), StoreUnavailableError)
