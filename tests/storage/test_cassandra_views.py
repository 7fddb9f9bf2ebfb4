"""The Cassandra backend against the suites of ViewStore and ViewRegistry, on a real server."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from eventspine.storage.cassandra.registry import CassandraViewRegistry
from eventspine.storage.cassandra.session import CassandraSession, Row
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.cassandra.view_schema import prepare_view_tables
from eventspine.storage.cassandra.view_tables import Column, ViewTable
from eventspine.storage.cassandra.views import CassandraViewStore
from eventspine.storage.errors import ProgressMovedError, StackSetupError
from eventspine.storage.keys import encode_key
from eventspine.storage.records import KeyedRow, PartialRow, ViewBatch
from eventspine.storage.stack import StackSettings
from tests.storage.cassandra_keyspace import as_new_tenant, new_keyspace
from tests.storage.view_registry_suite import VIEW, Opened, ViewRegistrySuite, parked, parking
from tests.storage.view_store_suite import BUILD, PAIRS, ViewStoreSuite, batch, key, keys_of

NAME = Column("name", "text")
NUMBER = Column("number", "bigint")
TABLES = {
    table.view: table
    for table in (
        ViewTable("names.v1.Name", (NAME,), 1),
        ViewTable("names.v1.Number", (NUMBER,), 1),
        ViewTable("names.v1.Pair", (NAME, NUMBER), 1),
        ViewTable(VIEW, (Column("account_id", "text"),), 1),
        ViewTable(
            "names.v1.Many",
            (NAME, Column("odd", "boolean"), Column("bytes", "blob"), Column("big", "varint")),
            2,
        ),
    )
}
MANY = "names.v1.Many@7"


async def _make(settings: StackSettings) -> None:
    store = await CassandraStore.open(settings)
    await prepare_view_tables(store.session, TABLES.values(), create=True)
    await store.close()


@pytest.fixture(scope="module")
def keyspace(cassandra: str) -> Iterator[StackSettings]:
    with new_keyspace(cassandra, partitions=1) as settings:
        asyncio.run(_make(settings))
        yield settings


@pytest.fixture
async def store(keyspace: StackSettings) -> AsyncIterator[CassandraStore]:
    opened = await CassandraStore.open(as_new_tenant(keyspace))
    yield opened
    await opened.close()


@pytest.fixture
def views(store: CassandraStore) -> CassandraViewStore:
    return CassandraViewStore(store, TABLES)


def prompt_views(store: CassandraStore, check_seconds: float) -> CassandraViewStore:
    """The rows as another process sees them, that writes its progress with each save."""
    return CassandraViewStore(store, TABLES, check_seconds=check_seconds, flush_seconds=0)


class TestCassandraViewStore(ViewStoreSuite):
    async def test_a_prefix_of_all_highest_bytes_has_no_end_and_lists_its_rows(
        self, views: CassandraViewStore
    ) -> None:
        """Declined exception: keys are values of typed columns, and no value begins so."""
        with pytest.raises(ValueError, match="tag of a value"):
            await views.list(BUILD, prefix=b"\xff\xff")


class TestCassandraViewRegistry(ViewRegistrySuite):
    @pytest.fixture
    def opened(self, store: CassandraStore, views: CassandraViewStore) -> Opened:
        return Opened(views, CassandraViewRegistry(store))


async def test_keys_of_all_types_come_back_in_order_whatever_is_asked(
    views: CassandraViewStore,
) -> None:
    values = [
        (name, odd, data, big)
        for name in ("", "a", "a\x00", "aé", "b")
        for odd in (False, True)
        for data in (b"", b"\x00", b"\xff")
        for big in (0, 3, 2**64 - 1)
    ]
    keys = [encode_key(one) for one in values]
    await views.save([batch(0, 1, {one: one for one in reversed(keys)}, build=MANY)])
    assert keys == sorted(keys)
    assert [(row.key, row.partials[0].encoded) for row in await views.list(MANY)] == [
        (one, one) for one in keys
    ]
    assert await views.load(MANY, 0, keys) == {one: PartialRow(0, 1, one) for one in keys}
    for length in range(5):
        for prefix in {encode_key(one[:length]) for one in values}:
            inside = [one for one in keys if one.startswith(prefix)]
            assert keys_of(await views.list(MANY, prefix=prefix)) == inside
            for after in (keys[0], inside[0], inside[len(inside) // 2], keys[-1]):
                rest = [one for one in inside if one > after]
                assert keys_of(await views.list(MANY, prefix=prefix, after=after)) == rest
                listed = await views.list(MANY, prefix=prefix, after=after, limit=2)
                assert keys_of(listed) == rest[:2]


async def test_partials_of_several_partitions_stand_beside_each_other(
    store: CassandraStore,
) -> None:
    views = CassandraViewStore(replace(store, partitions=3), TABLES)
    for partition in (2, 0):
        rows = {key("k"): PartialRow(partition, 5, b"%d" % partition)}
        await views.save([ViewBatch(BUILD, partition, 0, 5, rows, {})])
    await views.save([ViewBatch(BUILD, 0, 5, 6, {key("k"): PartialRow(0, 6, None)}, {})])
    assert await views.get(BUILD, key("k")) == (PartialRow(2, 5, b"2"),)
    assert await views.list(BUILD) == [KeyedRow(key("k"), (PartialRow(2, 5, b"2"),))]
    assert await views.load(BUILD, 0, [key("k")]) == {key("k"): PartialRow(0, 6, None)}
    assert await views.progress(BUILD) == (6, 0, 5)


async def test_long_partitions_are_listed_over_pages_with_all_partials(
    store: CassandraStore,
) -> None:
    views = CassandraViewStore(replace(store, partitions=3), TABLES)
    for partition in range(3):
        rows = {
            key(name, n): PartialRow(partition, 1, b"%d" % partition)
            for name in ("a", "b")
            for n in range(700)
        }
        await views.save([ViewBatch(PAIRS, partition, 0, 1, rows, {})])
    partials = tuple(PartialRow(partition, 1, b"%d" % partition) for partition in range(3))
    listed = await views.list(PAIRS, limit=5000)
    assert listed == [KeyedRow(key(name, n), partials) for name in ("a", "b") for n in range(700)]
    assert await views.list(PAIRS, after=key("a", 698), limit=3) == [
        KeyedRow(one, partials) for one in (key("a", 699), key("b", 0), key("b", 1))
    ]


async def test_a_late_write_of_a_replaced_process_changes_nothing(store: CassandraStore) -> None:
    zombie, other = [prompt_views(store, 3600) for _ in range(2)]
    await zombie.save([batch(0, 3, {key("a"): b"3"})])
    await other.save([batch(3, 9, {key("a"): b"9", key("b"): b"9"})])
    # It does not look, and what it writes is what the log makes of the rows up to there.
    await zombie.save([batch(3, 5, {key("a"): b"5"})])
    assert await other.progress(BUILD) == (9,)
    assert await other.get(BUILD, key("a")) == (PartialRow(0, 9, b"9"),)
    await zombie.save([batch(5, 6, {key("a"): None})])
    assert await other.get(BUILD, key("a")) == (PartialRow(0, 9, b"9"),)


async def test_a_replaced_process_finds_out_from_the_progress(store: CassandraStore) -> None:
    zombie, other = [prompt_views(store, -1) for _ in range(2)]
    await zombie.save([batch(0, 3, {key("a"): b"3"})])
    await other.save([batch(3, 9)])
    with pytest.raises(ProgressMovedError):
        await zombie.save([batch(3, 5, {key("z"): b"5"})])
    assert keys_of(await other.list(BUILD)) == [key("a")]
    await other.drop(BUILD)
    with pytest.raises(ProgressMovedError, match="is gone"):
        await zombie.save([batch(0, 1)])


async def test_parked_keys_that_were_released_are_not_parked_again_by_a_replaced_process(
    store: CassandraStore,
) -> None:
    zombie, other = [prompt_views(store, 3600) for _ in range(2)]
    registry = CassandraViewRegistry(store)
    await zombie.save([parking(0, 4, parked("a", 4))])
    await other.save([parking(4, 4, released=("a",))])
    with pytest.raises(ProgressMovedError, match="somebody else"):
        await zombie.save([parking(4, 7, parked("a", 4, 7))])
    assert await registry.parked(f"{VIEW}@1") == []
    assert await other.progress(f"{VIEW}@1") == (4,)


async def test_the_progress_of_many_saves_is_written_a_moment_later(store: CassandraStore) -> None:
    saving, other = [CassandraViewStore(store, TABLES, flush_seconds=3600) for _ in range(2)]
    for after in range(5):
        await saving.save([batch(after, after + 1, {key("a"): b"%d" % after})])
    assert await saving.progress(BUILD) == (5,)
    assert await other.progress(BUILD) == (0,)
    await saving.flush()
    assert await other.progress(BUILD) == (5,)
    await saving.save([batch(5, 6)])
    await saving.close()
    assert await other.progress(BUILD) == (6,)


async def test_who_goes_on_after_a_crash_folds_again_what_the_rows_know(
    store: CassandraStore,
) -> None:
    dead = CassandraViewStore(store, TABLES, flush_seconds=3600)
    await dead.save([batch(0, 3, {key("a"): b"3"})])
    other = CassandraViewStore(store, TABLES, flush_seconds=3600)
    assert await other.progress(BUILD) == (0,)
    assert await other.load(BUILD, 0, [key("a")]) == {key("a"): PartialRow(0, 3, b"3")}
    await other.save([batch(0, 4, {key("a"): b"4"})])
    assert await other.progress(BUILD) == (4,)
    # The dead one was only slow: what it writes late takes nothing back.
    await other.flush()
    await dead.flush()
    assert await CassandraViewStore(store, TABLES).progress(BUILD) == (4,)


async def test_progress_that_waits_does_not_bring_a_dropped_build_back(
    store: CassandraStore,
) -> None:
    saving, other = [CassandraViewStore(store, TABLES, flush_seconds=3600) for _ in range(2)]
    await saving.save([batch(0, 3, {key("a"): b"3"})])
    await other.drop(BUILD)
    await saving.flush()
    assert await saving.progress(BUILD) == await other.progress(BUILD) == (0,)
    assert await other.list(BUILD) == []


async def test_parked_keys_and_the_progress_behind_them_are_written_at_once(
    store: CassandraStore,
) -> None:
    saving, other = [CassandraViewStore(store, TABLES, flush_seconds=3600) for _ in range(2)]
    await saving.save([parking(0, 4, parked("a", 4))])
    assert await other.progress(f"{VIEW}@1") == (4,)


async def test_a_row_that_was_written_before_a_crash_is_found_in_lists_later(
    store: CassandraStore,
) -> None:
    dead = CassandraViewStore(store, TABLES)
    rows, number = dead._of(BUILD)
    # The row was written, and neither its entry in the index nor the progress.
    await rows.write(number, [(key("a"), PartialRow(0, 3, b"3"))])
    other = CassandraViewStore(store, TABLES)
    assert await other.list(BUILD) == []
    # Folding from the beginning again, it finds the row ahead of it, and has nothing to write.
    assert await other.load(BUILD, 0, [key("a")]) == {key("a"): PartialRow(0, 3, b"3")}
    await other.save([batch(0, 3)])
    assert await other.list(BUILD) == [KeyedRow(key("a"), (PartialRow(0, 3, b"3"),))]


async def test_a_dropped_build_leaves_no_row_behind(store: CassandraStore) -> None:
    views = CassandraViewStore(store, TABLES)
    for build in (PAIRS, "names.v1.Pair@2"):
        rows = {key(f"n{n}", m): b"row" for n in range(300) for m in range(3)}
        await views.save([batch(0, 1, rows, build=build)])
    await views.drop(PAIRS)
    name = store.session.table(TABLES["names.v1.Pair"].name)
    left = await store.session.read(
        f"SELECT build, count(*) FROM {name} WHERE tenant = ? GROUP BY tenant, build, name"
        " ALLOW FILTERING",
        (store.tenant,),
    )
    assert left == [(2, 3)] * 300
    assert len(await views.list("names.v1.Pair@2", limit=5000)) == 900


class Behind(CassandraSession):
    """A session whose second node, asked for a table's columns, knows the table later."""

    asked = 0

    async def read(self, cql: str, values: Sequence[Any] = ()) -> list[Row]:
        if "system_schema.columns" in cql:
            self.asked += 1
            if self.asked == 1:
                return []
        return await super().read(cql, values)


class TestViewTables:
    """Making and checking the tables of declared views, in a keyspace that has none of these."""

    SOME = ViewTable("made.v1.Some", (NAME, NUMBER), 1)

    async def test_processes_that_start_at_once_make_each_table_once(
        self, store: CassandraStore
    ) -> None:
        tables = [ViewTable(f"made.v1.At{n}", (NAME,), 1) for n in range(2)]
        await asyncio.gather(
            *[prepare_view_tables(store.session, tables, create=True) for _ in range(3)]
        )
        await prepare_view_tables(store.session, tables, create=False)

    async def test_a_node_that_does_not_know_a_table_yet_is_not_taken_for_another_key(
        self, keyspace: StackSettings
    ) -> None:
        behind = await Behind.open(keyspace)
        await prepare_view_tables(behind, [self.SOME], create=True)
        behind.asked = 0
        await prepare_view_tables(behind, [self.SOME], create=True)
        assert behind.asked > 1
        await behind.close()

    async def test_a_process_that_may_not_make_them_says_which_are_missing(
        self, store: CassandraStore
    ) -> None:
        missing = ViewTable("made.v1.Never", (NAME,), 1)
        with pytest.raises(StackSetupError, match=r"rows_made_v1_never \(rows of view made.v1.Nev"):
            await prepare_view_tables(store.session, [missing], create=False)

    async def test_a_view_whose_key_has_changed_is_refused(self, store: CassandraStore) -> None:
        await prepare_view_tables(store.session, [self.SOME], create=True)
        for columns, partition in (((NAME, NUMBER), 2), ((NAME,), 1), ((NUMBER, NAME), 1)):
            other = ViewTable("made.v1.Some", columns, partition)
            with pytest.raises(StackSetupError, match="give a row with another one a new name"):
                await prepare_view_tables(store.session, [other], create=True)

    async def test_a_table_of_another_view_is_refused(self, store: CassandraStore) -> None:
        await prepare_view_tables(store.session, [self.SOME], create=True)
        other = ViewTable("made.v1.SOME", (NAME, NUMBER), 1)
        assert other.name == self.SOME.name
        with pytest.raises(StackSetupError, match="another view's rows would be mixed"):
            await prepare_view_tables(store.session, [other], create=True)
