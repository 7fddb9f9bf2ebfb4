"""A store file: whose it is, what it must be, and that it is the same when opened again."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eventspine.storage.errors import OwnedError, StoreFormatError, StoreUnavailableError
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.events import SqliteEventStore
from eventspine.storage.sqlite.log import SqliteEventLog
from eventspine.storage.sqlite.snapshots import SqliteSnapshotStore
from tests.storage.appends import append_of, stored
from tests.storage.snapshot_store_suite import snapshot

OWNER = """
import asyncio, sys
from pathlib import Path
from eventspine.storage.sqlite.database import SqliteDatabase

async def main():
    SqliteDatabase.open(Path(sys.argv[1]))
    print("open", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_all_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    appends = [append_of("a/1", 0, "c1", events=3), append_of("b/1", 0, "c2", events=0)]
    db = SqliteDatabase.open(path)
    identity = db.identity
    await stored(SqliteEventStore(db), appends)
    await SqliteSnapshotStore(db).save(snapshot(3))
    await db.close()

    db = SqliteDatabase.open(path)
    store = SqliteEventStore(db)
    assert db.identity == identity
    assert tuple(await store.read("a/1")) == appends[0].records
    assert await store.command("b/1", "c2") == appends[1].commands[0]
    assert await SqliteSnapshotStore(db).load("account/1") == snapshot(3)
    await stored(store, [append_of("a/1", 3, "c3", chain=appends[0].chain)])
    assert await SqliteEventLog(db).ends() == (4,)
    await db.close()


async def test_two_stores_have_two_ids(tmp_path: Path) -> None:
    first = SqliteDatabase.open(tmp_path / "first.db")
    second = SqliteDatabase.open(tmp_path / "second.db")
    assert first.identity.store_id != second.identity.store_id
    assert first.identity.location == str(tmp_path / "first.db")
    assert first.identity.ancestors == {}
    await first.close()
    await second.close()


async def test_a_file_that_this_process_has_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    (tmp_path / "link.db").symlink_to(path)
    db = SqliteDatabase.open(path)
    for name in ("store.db", "link.db"):
        with pytest.raises(OwnedError, match=f"{path} is owned by process {os.getpid()};"):
            SqliteDatabase.open(tmp_path / name)
    await db.close()
    await SqliteDatabase.open(path).close()


async def test_a_file_of_another_process_is_refused_until_that_one_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    command = [sys.executable, "-c", OWNER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:  # noqa: ASYNC220 # nothing else runs on the loop
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        with pytest.raises(OwnedError, match=f"is owned by process {owner.pid};"):
            SqliteDatabase.open(path)
        owner.kill()
    await SqliteDatabase.open(path).close()


async def test_paths_that_cannot_hold_a_store_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "missing" / "store.db", "the folder .*missing does not exist; make it first"),
        (tmp_path / "folder", "is a folder; give the path of a file"),
        (tmp_path / "pipe", "is not a regular file"),
        (Path(":memory:"), "is not a file name"),
        (Path(""), "is not a file name"),
    ):
        with pytest.raises(StoreFormatError, match=words):
            SqliteDatabase.open(path)


async def test_a_file_that_is_no_database_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"These are notes. " * 1000)
    with pytest.raises(StoreFormatError, match=r"notes\.txt cannot be opened as a store"):
        SqliteDatabase.open(path)
    assert path.read_bytes() == b"These are notes. " * 1000


async def test_a_database_of_another_program_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes (text)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreFormatError, match="is a database of another program"):
        SqliteDatabase.open(path)
    assert path.read_bytes() == before


async def test_a_store_of_another_format_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await SqliteDatabase.open(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 7")
    other.close()
    with pytest.raises(StoreFormatError, match="has format 7, and this program reads format 1"):
        SqliteDatabase.open(path)


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    await SqliteDatabase.open(path).close()
    assert path.stat().st_size > 0


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    db = SqliteDatabase.open(tmp_path / "store.db")
    store = SqliteEventStore(db)
    await db.close()
    await db.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.append([append_of("a/1", 0, "c")])
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.read("a/1")


async def test_a_file_that_is_open_under_another_name_is_refused(tmp_path: Path) -> None:
    db = SqliteDatabase.open(tmp_path / "store.db")
    os.link(tmp_path / "store.db", tmp_path / "other.db")
    with pytest.raises(OwnedError, match="under another name"):
        SqliteDatabase.open(tmp_path / "other.db")
    await stored(SqliteEventStore(db), [append_of("a/1", 0, "c1")])
    os.rename(tmp_path / "store.db", tmp_path / "moved.db")
    with pytest.raises(OwnedError, match=r"moved\.db is open under another name"):
        SqliteDatabase.open(tmp_path / "moved.db")
    os.rename(tmp_path / "moved.db", tmp_path / "store.db")
    await db.close()
    (tmp_path / "other.db").unlink()
    db = SqliteDatabase.open(tmp_path / "store.db")
    assert await SqliteEventLog(db).ends() == (1,)
    await db.close()


async def test_a_close_that_was_cancelled_is_finished_by_the_next(tmp_path: Path) -> None:
    db = SqliteDatabase.open(tmp_path / "store.db")
    first = asyncio.create_task(db.close())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.gather(db.close(), db.close())
    await SqliteDatabase.open(tmp_path / "store.db").close()
