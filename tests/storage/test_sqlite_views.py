"""The SQLite backend against the suites of ViewStore and ViewRegistry."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventspine.storage.errors import ProgressMovedError
from eventspine.storage.keys import encode_key
from eventspine.storage.records import Build, PartialRow, ViewBatch
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.registry import SqliteViewRegistry
from eventspine.storage.sqlite.views import SqliteViewStore
from tests.storage.view_registry_suite import Opened, ViewRegistrySuite, parked, parking
from tests.storage.view_store_suite import ViewStoreSuite


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase.open(tmp_path / "store.db")
    yield database
    await database.close()


class TestSqliteViewStore(ViewStoreSuite):
    @pytest.fixture
    def views(self, database: SqliteDatabase) -> SqliteViewStore:
        return SqliteViewStore(database)


class TestSqliteViewRegistry(ViewRegistrySuite):
    @pytest.fixture
    def opened(self, database: SqliteDatabase) -> Opened:
        return Opened(SqliteViewStore(database), SqliteViewRegistry(database))


async def test_rows_parked_keys_and_builds_are_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    build = Build(number=1, code_version=2, state="serving", paused=True)
    row = PartialRow(0, 4, b"row")
    database = SqliteDatabase.open(path)
    views = SqliteViewStore(database)
    await views.save([ViewBatch("dropped@1", 0, 0, 4, {b"k": row}, {})])
    await views.drop("dropped@1")
    await views.save([ViewBatch("v@1", 0, 0, 4, {b"k": row}, {}), parking(0, 4, parked("a", 4))])
    assert await SqliteViewRegistry(database).put("v", 0, [build])
    await database.close()

    database = SqliteDatabase.open(path)
    views, registry = SqliteViewStore(database), SqliteViewRegistry(database)
    assert await views.get("v@1", b"k") == (row,)
    assert await views.progress("v@1") == (4,)
    assert (await registry.builds("v")).builds == (build,)
    assert await registry.parked("bank.v1.AccountBalance@1") == [parked("a", 4)]
    with pytest.raises(ProgressMovedError):
        await views.save([ViewBatch("dropped@1", 0, 0, 4, {b"k": row}, {})])
    await database.close()


async def test_a_big_build_is_dropped_in_portions_and_leaves_nothing(
    database: SqliteDatabase,
) -> None:
    views = SqliteViewStore(database)
    for name in ("big@1", "other@1"):
        rows = {encode_key((n,)): PartialRow(0, 1, b"row") for n in range(4500)}
        await views.save([ViewBatch(name, 0, 0, 1, rows, {})])
    before = database.commits
    await views.drop("big@1")
    assert database.commits - before > 3
    left = await database.read(
        lambda connection: connection.execute("SELECT count(*) FROM view_rows").fetchone()
    )
    assert left == (4500,)
    assert len(await views.list("other@1", limit=5000)) == 4500


async def test_a_page_of_a_list_costs_the_same_wherever_it_begins(database: SqliteDatabase) -> None:
    views = SqliteViewStore(database)
    keys = [encode_key((f"{n // 4000}", n)) for n in range(20_000)]
    await views.save([ViewBatch("big@1", 0, 0, 1, dict.fromkeys(keys, PartialRow(0, 1, b"")), {})])
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    await database.read(lambda connection: connection.set_progress_handler(count, 100))
    costs = []
    for place in (0, 7_999, 19_989):
        for prefix in (b"", encode_key((f"{(place + 1) // 4000}",))):
            before = steps
            page = await views.list("big@1", prefix=prefix, after=keys[place], limit=10)
            assert [row.key for row in page] == keys[place + 1 : place + 11]
            costs.append(steps - before)
    await database.read(lambda connection: connection.set_progress_handler(None, 0))
    assert max(costs) <= min(costs) + 5, costs
