"""Loading a backup into a store file: the same store again, or a file that is refused."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventspine.storage.errors import NotEmptyError, RestoreOrderError, StoreFormatError
from eventspine.storage.records import Append, NumberedCommand, Replayed, Stored
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.events import SqliteEventStore
from eventspine.storage.sqlite.log import SqliteEventLog
from eventspine.storage.sqlite.restore import SqliteLoader
from tests.storage.appends import append_of, entries_of, stored

APPENDS = [append_of("a/1", 0, "c1", events=3), append_of("b/1", 0, "c2", events=2)]


def commands_of(appends: list[Append]) -> list[NumberedCommand]:
    rows = [(append.stream, row) for append in appends for row in append.commands]
    return [NumberedCommand(number, *row) for number, row in enumerate(rows, 1)]


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    db = SqliteDatabase.open(tmp_path / "store.db")
    yield db
    await db.close()


async def test_a_restored_store_has_the_same_sequences_and_knows_its_commands(
    db: SqliteDatabase, tmp_path: Path
) -> None:
    loader = SqliteLoader(db)
    entries = entries_of(APPENDS)
    await loader.begin()
    await loader.records(entries[:2])
    await loader.records(entries[2:])
    await loader.commands(commands_of(APPENDS))
    await loader.finish({"old": (5,), "older": (2, 0, 1)})
    await db.close()

    db = SqliteDatabase.open(tmp_path / "store.db")
    store = SqliteEventStore(db)
    assert db.identity.ancestors == {"old": (5,), "older": (2, 0, 1)}
    assert await SqliteEventLog(db).read(0) == entries
    assert await store.commands() == commands_of(APPENDS)
    assert await store.append([APPENDS[0]]) == [Replayed(APPENDS[0].commands[0])]
    assert await store.append([append_of("b/1", 2, "c3")]) == [Stored(6)]
    await db.close()


async def test_a_store_with_events_or_commands_is_refused(db: SqliteDatabase) -> None:
    await stored(SqliteEventStore(db), [append_of("a/1", 0, "c", events=0)])
    with pytest.raises(NotEmptyError, match="0 events and 1 commands"):
        await SqliteLoader(db).begin()


async def test_a_restore_that_did_not_finish_is_never_opened_as_a_store(
    db: SqliteDatabase, tmp_path: Path
) -> None:
    loader = SqliteLoader(db)
    await loader.begin()
    await loader.records(entries_of(APPENDS))
    await db.close()
    with pytest.raises(StoreFormatError, match="a restore that did not finish"):
        SqliteDatabase.open(tmp_path / "store.db")


async def test_what_is_missing_or_comes_twice_is_refused_and_not_loaded(
    db: SqliteDatabase,
) -> None:
    loader = SqliteLoader(db)
    entries = entries_of(APPENDS)
    await loader.begin()
    with pytest.raises(RestoreOrderError, match="0/2 comes where 0/1 is due"):
        await loader.records(entries[1:])
    await loader.records(entries)
    with pytest.raises(RestoreOrderError, match="twice"):
        await loader.records([entries[0]._replace(sequence=6)])
    await loader.commands(commands_of(APPENDS))
    with pytest.raises(RestoreOrderError, match="twice"):
        await loader.commands(commands_of(APPENDS))
    assert await SqliteEventLog(db).ends() == (5,)
