"""The Cassandra backend against the suite of EventLog, on a real server."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from eventspine.storage.cassandra.log import CassandraEventLog
from eventspine.storage.cassandra.log_tables import ENTRIES_PER_BUCKET
from eventspine.storage.cassandra.positions import CassandraPositions
from eventspine.storage.cassandra.session import CassandraSession, Verdict
from eventspine.storage.cassandra.settle import SETTLE_SECONDS
from eventspine.storage.cassandra.statements import Part
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.errors import LogMovedError, OutcomeUnknownError
from eventspine.storage.records import LogEntry, LogPlace, StreamPlace
from eventspine.storage.stack import StackSettings
from tests.storage.appends import append_of, entries_of
from tests.storage.cassandra_keyspace import as_new_tenant, new_keyspace
from tests.storage.event_log_suite import EventLogSuite

NEVER = 3600.0


@pytest.fixture(scope="module")
def keyspace(cassandra: str) -> Iterator[StackSettings]:
    with new_keyspace(cassandra, partitions=1, events_per_bucket=4) as settings:
        yield settings


@pytest.fixture
async def store(keyspace: StackSettings) -> AsyncIterator[CassandraStore]:
    opened = await CassandraStore.open(as_new_tenant(keyspace))
    yield opened
    await opened.close()


@asynccontextmanager
async def opened(
    store: CassandraStore,
    *,
    flush_seconds: float = NEVER,
    entries_per_bucket: int = ENTRIES_PER_BUCKET,
    settle_seconds: float = SETTLE_SECONDS,
) -> AsyncIterator[CassandraEventLog]:
    """A process's log; at the end it is gone with all that it has not flushed."""
    positions = CassandraPositions(
        store, flush_seconds=flush_seconds, entries_per_bucket=entries_per_bucket
    )
    yield CassandraEventLog(store, positions, settle_seconds=settle_seconds)
    if positions._task is not None:
        positions._task.cancel()


@pytest.fixture
async def log(store: CassandraStore) -> AsyncIterator[CassandraEventLog]:
    async with opened(store) as log:
        yield log


class TestCassandraEventLog(EventLogSuite):
    pass


class TestCassandraEventLogFlushed(EventLogSuite):
    """All positions are in the table, and none in memory."""

    async def fill(self, log: CassandraEventLog, streams: list[str]) -> None:
        await super().fill(log, streams)
        await log._positions.flush()
        assert not log._positions._last


def entries(first: int, streams: Sequence[tuple[str, int]]) -> list[LogEntry]:
    """Returns entries with the sequences from `first` on, of streams and versions."""
    return [
        LogEntry(0, sequence, stream, version, "t", b"%d" % sequence)
        for sequence, (stream, version) in enumerate(streams, first)
    ]


async def test_a_log_that_goes_over_buckets_is_dense(store: CassandraStore) -> None:
    async with opened(store, entries_per_bucket=5) as log:
        end = 0
        for count in (3, 1, 1, 7, 20, 5, 2):
            written = entries(end + 1, [("a/1", end + n) for n in range(1, count + 1)])
            await log.extend(0, end, written)
            end += count
            async with opened(store, entries_per_bucket=5) as other:
                assert await other.ends() == (end,)
                assert await other.take_over(0) == end
        await log._positions.flush()
    async with opened(store, entries_per_bucket=5) as other:
        assert await other.ends() == (39,)
        read = await other.read(0)
        assert [entry.sequence for entry in read] == list(range(1, 40))
        for after in range(41):
            for limit in (1, 4, 11):
                part = await other.read(0, after=after, limit=limit)
                expected = range(after + 1, min(after + limit, 39) + 1)
                assert [entry.sequence for entry in part] == list(expected)
        assert await other.versions(["a/1"]) == [39]
        asked = [StreamPlace("a/1", version) for version in range(1, 41)]
        found = await other.positions(asked)
        assert found == [*(LogPlace(0, n) for n in range(1, 40)), None]


async def test_places_between_flushed_ones_are_found_in_the_log(store: CassandraStore) -> None:
    order = [("a/1", 1), ("b/1", 1), ("a/1", 2), ("b/1", 2), ("a/1", 3), ("b/1", 3), ("a/1", 4)]
    async with opened(store) as log:
        await log.extend(0, 0, entries(1, order[:3]))
        await log._positions.flush()
        await log.extend(0, 3, entries(4, order[3:]))
        for flushed in (False, True):
            if flushed:
                await log._positions.flush()
            asked = [StreamPlace(*place) for place in order]
            assert await log.positions(asked) == [LogPlace(0, n) for n in range(1, 8)]
            for sequence, place in enumerate(asked, 1):
                assert await log.positions([place]) == [LogPlace(0, sequence)]
            assert await log.positions([StreamPlace("b/1", 4), StreamPlace("c/1", 1)]) == [None] * 2


async def test_positions_that_a_dead_process_has_not_written_are_found_after_a_take_over(
    store: CassandraStore,
) -> None:
    async with opened(store) as dead:
        await dead.extend(0, 0, entries(1, [("a/1", 1), ("b/1", 1)]))
        await dead._positions.flush()
        await dead.extend(0, 2, entries(3, [("a/1", 2), ("c/1", 1)]))
    async with opened(store) as other:
        streams = ["a/1", "b/1", "c/1"]
        # Nobody extends the log: it may be a moment behind, and is never wrong.
        assert await other.versions(streams) == [1, 1, 0]
        assert await other.take_over(0) == 4
        assert await other.versions(streams) == [2, 1, 1]
        await other._positions.flush()
    async with opened(store) as third:
        assert await third.versions(streams) == [2, 1, 1]
        assert await third.take_over(0) == 4
        assert not third._positions._noted


async def test_what_a_process_flushes_late_takes_nothing_back(store: CassandraStore) -> None:
    async with opened(store) as zombie, opened(store) as other:
        await zombie.extend(0, 0, entries(1, [("a/1", 1), ("b/1", 1)]))
        assert await other.take_over(0) == 2
        await other.extend(0, 2, entries(3, [("a/1", 2)]))
        await other._positions.flush()
        await zombie._positions.flush()
        with pytest.raises(LogMovedError):
            await zombie.extend(0, 2, entries(3, [("x/1", 1)]))
        assert await zombie.take_over(0) == 3
        assert await zombie.versions(["a/1", "b/1", "x/1"]) == [2, 1, 0]
    async with opened(store) as third:
        assert await third.take_over(0) == 3
        assert not third._positions._noted
        assert await third.versions(["a/1", "b/1", "x/1"]) == [2, 1, 0]


async def test_positions_are_written_by_themselves_a_moment_later(store: CassandraStore) -> None:
    async with opened(store, flush_seconds=0.01) as log, opened(store) as other:
        await log.extend(0, 0, entries(1, [("a/1", 1)]))
        for _ in range(3000):
            if await other.versions(["a/1"]) == [1]:
                return
        pytest.fail("they were not")


class LosingSession:
    """A session whose next answers to conditional batches are lost on the way back."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        self.lose = 0
        self.between = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    async def decide(self, *parts: Part) -> Verdict:
        verdict = await self._session.decide(*parts)
        if self.lose:
            self.lose -= 1
            if self.between is not None:
                await self.between()
            raise OutcomeUnknownError("the answer was lost")
        return verdict


async def test_a_lost_answer_is_settled_by_the_same_batch(store: CassandraStore) -> None:
    async with opened(store) as log:
        await log.extend(0, 0, entries(1, [("a/1", 1)]))
        losing = LosingSession(store.session)
        log._session = losing  # type: ignore[assignment]
        losing.lose = 2
        await log.extend(0, 1, entries(2, [("a/1", 2), ("a/1", 3)]))
        await log.extend(0, 3, entries(4, [("a/1", 4)]))
        assert await log.versions(["a/1"]) == [4]
    async with opened(store) as other:
        assert [entry.stream_version for entry in await other.read(0)] == [1, 2, 3, 4]


async def test_a_lost_answer_with_somebody_else_behind_it_stays_unknown(
    store: CassandraStore,
) -> None:
    async with opened(store) as log, opened(store) as other:
        losing = LosingSession(store.session)
        log._session = losing  # type: ignore[assignment]
        losing.lose = 1

        async def extend_behind() -> None:
            await other.extend(0, 1, entries(2, [("b/1", 1)]))

        losing.between = extend_behind
        with pytest.raises(OutcomeUnknownError):
            await log.extend(0, 0, entries(1, [("a/1", 1)]))
        assert await log.take_over(0) == 2
        assert await log.versions(["a/1", "b/1"]) == [1, 1]


async def test_an_outcome_that_cannot_be_settled_in_time_is_said_to_be_unknown(
    store: CassandraStore,
) -> None:
    async with opened(store, settle_seconds=0.0) as log:
        losing = LosingSession(store.session)
        log._session = losing  # type: ignore[assignment]
        losing.lose = 100
        with pytest.raises(OutcomeUnknownError):
            await log.extend(0, 0, entries(1, [("a/1", 1)]))
        losing.lose = 0
        assert await log.take_over(0) == 1


async def test_entries_of_real_appends_come_back_as_they_were(store: CassandraStore) -> None:
    async with opened(store) as log:
        written = entries_of([append_of(f"a/{n}", 0, "c", events=3) for n in range(300)])
        await log.extend(0, 0, written)
        assert await log.read(0, limit=1000) == written


async def test_what_somebody_else_has_extended_and_flushed_is_known_after_a_take_over(
    store: CassandraStore,
) -> None:
    async with opened(store) as zombie, opened(store) as other:
        await zombie.extend(0, 0, entries(1, [("a/1", 1)]))
        assert await other.take_over(0) == 1
        await other.extend(0, 1, entries(2, [("a/1", 2)]))
        await other._positions.flush()
        # It still has version 1 in memory, to be flushed.
        assert await zombie.take_over(0) == 2
        assert await zombie.versions(["a/1"]) == [2]
