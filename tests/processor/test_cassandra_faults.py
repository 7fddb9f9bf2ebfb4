"""Steps 5 and 6 over Cassandra: processes die, are replaced without knowing it, and come late."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from eventspine.storage.bus import LocalBus
from eventspine.storage.cassandra.log import CassandraEventLog
from eventspine.storage.cassandra.positions import CassandraPositions
from eventspine.storage.cassandra.session import CassandraSession, Verdict
from eventspine.storage.cassandra.statements import Part
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.errors import OutcomeUnknownError
from eventspine.storage.memory.events import MemoryEventStore
from eventspine.storage.records import LogEntry, LogPlace, StreamPlace
from eventspine.storage.stack import StackSettings
from eventspine.storage.tail import LogTail
from processor_svc.positions import Bounds
from processor_svc.sequence import Sequencer
from tests.processor.conftest import open_cassandra
from tests.processor.platform import Platform, eventually
from tests.processor.views import TOTALS
from tests.storage.appends import append_of
from tests.storage.cassandra_keyspace import as_new_tenant

NEVER = 3600.0
FORGETFUL = Bounds(streams_max=2, history_entries_max=-1)


@pytest.fixture
def settings(keyspace: StackSettings) -> StackSettings:
    """Settings of a store in which nothing is there yet."""
    return as_new_tenant(keyspace)


@pytest.fixture
async def store(settings: StackSettings) -> AsyncIterator[CassandraStore]:
    opened = await CassandraStore.open(settings)
    yield opened
    await opened.close()


class LosingSession:
    """A session of which a test loses answers to conditional batches, on their way back."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        self.lose = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    async def decide(self, *parts: Part) -> Verdict:
        verdict = await self._session.decide(*parts)
        if self.lose:
            self.lose -= 1
            raise OutcomeUnknownError("the answer was lost")
        return verdict


class Process:
    """A sequencer with a log of its own, as a process has it."""

    def __init__(
        self, store: CassandraStore, events: MemoryEventStore, bus: LocalBus, bounds: Bounds
    ) -> None:
        self.session = LosingSession(store.session)
        self.positions = CassandraPositions(store, flush_seconds=NEVER)
        log = CassandraEventLog(store, self.positions)
        log._session = self.session  # type: ignore[assignment]
        self.sequencer = Sequencer(events, log, bus, bounds=bounds)

    def die(self) -> None:
        """Ends without writing what is noted."""
        if self.positions._task is not None:
            self.positions._task.cancel()


async def _stored(events: MemoryEventStore, stream: str, count: int) -> list[LogEntry]:
    head = await events.head(stream)
    append = append_of(stream, head.version, f"c{head.version}", events=count, chain=head.chain)
    await events.append([append])
    return [LogEntry(0, 0, stream, *record) for record in append.records]


async def _logged(store: CassandraStore) -> dict[str, list[int]]:
    entries = await CassandraEventLog(store, CassandraPositions(store)).read(0, limit=100_000)
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    versions: dict[str, list[int]] = {}
    for entry in entries:
        versions.setdefault(entry.stream, []).append(entry.stream_version)
    return versions


@pytest.mark.parametrize("bounds", [FORGETFUL, Bounds()], ids=["forgetful", "usual"])
@pytest.mark.parametrize("seed", range(3))
async def test_sequencers_that_die_return_and_replace_each_other_log_each_record_once(
    seed: int, bounds: Bounds, store: CassandraStore
) -> None:
    # A failure names its seed: it is a part of the test's name.
    chance = random.Random(seed)
    events, bus = MemoryEventStore(), LocalBus()
    lengths = {f"account/{name}": chance.randint(1, 20) for name in "abcdefgh"}
    published: list[LogEntry] = []
    for stream, length in lengths.items():
        entries = await _stored(events, stream, length)
        kept = [one for one in entries[:-1] if chance.random() < 0.7]
        again = [one._replace(republished=True) for one in kept if chance.random() < 0.3]
        published += kept + again + [entries[-1]]
    chance.shuffle(published)
    processes = [Process(store, events, bus, bounds) for _ in range(2)]
    while published:
        size = chance.randint(1, 9)
        batch, published = published[:size], published[size:]
        place = chance.randrange(2)
        process = processes[place]
        process.session.lose = chance.choice((0, 0, 0, 1, 2))
        await process.sequencer._until_done(0, batch)
        if chance.random() < 0.3:
            await process.positions.flush()
        if chance.random() < 0.3:
            process.die()
            processes[place] = Process(store, events, bus, bounds)
            # What it had taken is delivered again.
            await processes[place].sequencer._until_done(0, batch)
    for process in processes:
        process.die()
    assert await _logged(store) == {
        stream: list(range(1, length + 1)) for stream, length in lengths.items()
    }


class DeadError(Exception):
    """The process is gone."""


class BusOfTheDead(LocalBus):
    """A bus whose process dies as it wants to tell what is in the log."""

    def publish_now(self, channel: str, partition: int, messages: Sequence[object]) -> bool:
        return False

    async def publish(self, channel: str, partition: int, messages: Sequence[object]) -> None:
        raise DeadError


async def test_a_sequencer_that_dies_between_log_and_bus_loses_and_repeats_nothing(
    store: CassandraStore,
) -> None:
    events, bus = MemoryEventStore(), LocalBus()
    log = CassandraEventLog(store, CassandraPositions(store, flush_seconds=NEVER))
    tail = LogTail(log, bus, poll_seconds=0.05)
    await tail.start()
    entries = await _stored(events, "account/a", 3)
    dead = Process(store, events, BusOfTheDead(), Bounds())
    with pytest.raises(DeadError):
        await dead.sequencer.sequence(0, entries)
    dead.die()
    # Nobody was told, and whoever follows finds it all the same.
    assert await tail.wait(0, 2, 60)
    assert tail.place("account/a", 2) == LogPlace(0, 2)
    following = Process(store, events, bus, FORGETFUL)
    await following.sequencer.sequence(0, [*entries, *await _stored(events, "account/a", 1)])
    await following.positions.flush()
    assert await log.positions([StreamPlace("account/a", 3)]) == [LogPlace(0, 3)]
    following.die()
    assert await _logged(store) == {"account/a": [1, 2, 3, 4]}
    await tail.stop()


async def test_two_processes_that_fold_the_same_builds_make_the_rows_of_one(
    settings: StackSettings,
) -> None:
    async with AsyncExitStack() as stack:
        platforms = []
        for _ in range(2):
            # Each folds all partitions, as one does that does not know that it was replaced.
            backend = await stack.enter_async_context(open_cassandra(settings, LocalBus()))
            platforms.append(Platform(backend))
        first, second = platforms
        await first.start()
        await second.start()
        await asyncio.gather(*[first.deposit(f"a{n}", *range(n + 1)) for n in range(12)])
        await first.projected()
        await second.projected(TOTALS)
        await second.stop()
        await first.deposit("a0", 5)
        await first.projected()
        await first.projected(TOTALS)
        balances = [await first.balance(f"a{n}") for n in range(12)]
        assert balances == [5, *(sum(range(n + 1)) for n in range(1, 12))]
        totals = await first.row("bank", view=TOTALS)
        assert totals.deposited_cents == sum(balances)
        assert len(await first.rows()) == 12
        await first.stop()


async def test_a_process_that_was_replaced_follows_again_from_where_the_other_is(
    settings: StackSettings,
) -> None:
    async with AsyncExitStack() as stack:
        platforms = []
        for _ in range(2):
            backend = await stack.enter_async_context(open_cassandra(settings, LocalBus()))
            platforms.append(Platform(backend))
        first, second = platforms
        await first.start()
        await first.deposit("ann", 100)
        await first.projected()
        await second.start()
        await second.deposit("ann", 10)
        await second.projected()
        await second.deposit("bob", 1)

        async def both_agree() -> bool:
            return all([await one.balance("ann") == 110 for one in platforms])

        await eventually(both_agree)
        await first.deposit("ann", 1)
        await first.projected()
        assert await second.balance("ann") == 111
        assert await first.balance("bob") == 1
        for platform in platforms:
            await platform.stop()
