"""The Cassandra backend against the suites of EventStore and SnapshotStore, on a real server."""

from collections.abc import AsyncIterator, Iterator

import pytest

from eventspine.storage.cassandra.events import CassandraEventStore
from eventspine.storage.cassandra.snapshots import CassandraSnapshotStore
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.records import (
    GENESIS,
    CommandIdReused,
    Conflict,
    Head,
    Replayed,
    Stored,
    StreamHead,
)
from eventspine.storage.stack import StackSettings
from tests.storage.appends import append_of, stored
from tests.storage.cassandra_keyspace import as_new_tenant, new_keyspace
from tests.storage.event_store_suite import EventStoreSuite
from tests.storage.snapshot_store_suite import SnapshotStoreSuite

STREAM = "account/1"


@pytest.fixture(scope="module")
def keyspace(cassandra: str) -> Iterator[StackSettings]:
    with new_keyspace(cassandra) as settings:
        yield settings


@pytest.fixture(scope="module")
def bucketed(cassandra: str) -> Iterator[StackSettings]:
    """A keyspace whose streams are cut into short pieces."""
    with new_keyspace(cassandra, events_per_bucket=4) as settings:
        yield settings


@pytest.fixture
async def opened(keyspace: StackSettings) -> AsyncIterator[CassandraStore]:
    opened = await CassandraStore.open(as_new_tenant(keyspace))
    yield opened
    await opened.close()


@pytest.fixture
async def cut(bucketed: StackSettings) -> AsyncIterator[CassandraStore]:
    opened = await CassandraStore.open(as_new_tenant(bucketed))
    yield opened
    await opened.close()


class TestCassandraEventStore(EventStoreSuite):
    @pytest.fixture
    def store(self, opened: CassandraStore) -> CassandraEventStore:
        return CassandraEventStore(opened)

    async def test_it_leaves_sequencing_to_the_sequencer(self, store: CassandraEventStore) -> None:
        assert await store.append([append_of(STREAM, 0, "c1")]) == [Stored(None)]

    async def test_a_number_of_an_earlier_process_leads_to_all_commands_once_more(
        self, opened: CassandraStore, store: CassandraEventStore
    ) -> None:
        await stored(store, [append_of(STREAM, 0, "c1", "c2")])
        old = await store.commands()
        await stored(store, [append_of("account/2", 0, "c3")])
        found = await CassandraEventStore(opened).commands(after=old[-1].number)
        assert {command.row.command_id for command in found} == {"c1", "c2", "c3"}
        assert found[0].number == old[-1].number + 1

    async def test_a_long_append_is_stored_whole_and_read_over_several_pages(
        self, store: CassandraEventStore
    ) -> None:
        append = append_of(STREAM, 0, *[f"c{number}" for number in range(50)], events=50)
        await stored(store, [append])
        assert tuple(await store.read(STREAM, limit=5000)) == append.records
        down = await store.read(STREAM, limit=2**40, backwards=True)
        assert tuple(reversed(down)) == append.records
        assert await store.append([append]) == [Replayed(append.commands[0])]


class TestCassandraEventStoreInBuckets(EventStoreSuite):
    @pytest.fixture
    def store(self, cut: CassandraStore) -> CassandraEventStore:
        return CassandraEventStore(cut)


class TestCassandraSnapshotStore(SnapshotStoreSuite):
    @pytest.fixture
    def snapshots(self, opened: CassandraStore) -> CassandraSnapshotStore:
        return CassandraSnapshotStore(opened)


class TestBuckets:
    """Streams that go over several buckets, of four events each, seen by a store that is new."""

    @pytest.fixture
    def store(self, cut: CassandraStore) -> CassandraEventStore:
        return CassandraEventStore(cut)

    async def grown(self, store: CassandraEventStore, *counts: int) -> bytes:
        """Appends so many events, one append after the other; returns the last chain hash."""
        version, chain = 0, GENESIS
        for count in counts:
            append = append_of(STREAM, version, f"c{version}", events=count, chain=chain)
            await stored(store, [append])
            version, chain = version + count, append.chain
        return chain

    @pytest.mark.parametrize("counts", [(1,) * 13, (4, 4, 4, 1), (3, 3, 3, 3, 1), (2, 11), (13,)])
    async def test_a_stream_is_whole_however_it_is_cut(
        self, cut: CassandraStore, counts: tuple[int, ...]
    ) -> None:
        chain = await self.grown(CassandraEventStore(cut), *counts)
        fresh = CassandraEventStore(cut)
        assert await fresh.head(STREAM) == Head(13, chain)
        assert await fresh.heads() == [StreamHead(STREAM, 13, chain)]
        for after in range(16):
            for limit in (1, 3, 5, 100):
                up = await CassandraEventStore(cut).read(STREAM, after=after, limit=limit)
                expected = range(after + 1, min(after + limit, 13) + 1)
                assert [record.stream_version for record in up] == list(expected)
                down = await fresh.read(STREAM, after=after, limit=limit, backwards=True)
                start = min(after - 1, 13) if after else 13
                expected = range(start, max(start - limit, 0), -1)
                assert [record.stream_version for record in down] == list(expected)

    async def test_a_command_is_known_in_whichever_bucket_it_stands(
        self, cut: CassandraStore, store: CassandraEventStore
    ) -> None:
        await self.grown(store, *(1,) * 13)
        for fresh in (store, CassandraEventStore(cut)):
            for version in range(13):
                row = await fresh.command(STREAM, f"c{version}")
                assert row is not None
                for expected in (0, 5, 13, 40):
                    again = append_of(STREAM, expected, f"c{version}")
                    assert await fresh.append([again]) == [Replayed(row)]
                    other = append_of(STREAM, expected, f"c{version}", content="x")
                    assert await fresh.append([other]) == [CommandIdReused(row)]
        assert await store.command(STREAM, "never") is None
        assert (await store.head(STREAM)).version == 13

    async def test_an_append_at_another_version_learns_the_real_one(
        self, cut: CassandraStore, store: CassandraEventStore
    ) -> None:
        chain = await self.grown(store, 3, 3, 3, 3)
        for version in (0, 1, 4, 8, 11, 13, 16, 2**63 + 1):
            for fresh in (store, CassandraEventStore(cut)):
                outcomes = await fresh.append([append_of(STREAM, version, "new")])
                assert outcomes == [Conflict(Head(12, chain))], version

    async def test_commands_without_events_open_no_bucket(
        self, cut: CassandraStore, store: CassandraEventStore
    ) -> None:
        chain = await self.grown(store, 4)
        idle = append_of(STREAM, 4, "idle", events=0, chain=chain)
        assert await store.append([idle]) == [Stored(None)]
        fresh = CassandraEventStore(cut)
        assert await fresh.head(STREAM) == Head(4, chain)
        assert await fresh.command(STREAM, "idle") == idle.commands[0]
        assert await fresh.append([append_of(STREAM, 4, "next", chain=chain)]) == [Stored(None)]
        assert await fresh.append([idle]) == [Replayed(idle.commands[0])]

    async def test_of_two_writers_that_open_a_bucket_one_wins(
        self, cut: CassandraStore, store: CassandraEventStore
    ) -> None:
        chain = await self.grown(store, 2, 2)
        other = CassandraEventStore(cut)
        first = append_of(STREAM, 4, "a", chain=chain)
        assert await store.append([first]) == [Stored(None)]
        assert await other.append([append_of(STREAM, 4, "b", chain=chain)]) == [
            Conflict(Head(5, first.chain))
        ]
