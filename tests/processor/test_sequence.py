"""Step 5: whatever the bus does, the log holds each record once, each stream in order."""

import asyncio
import logging
import random
import zlib
from collections.abc import Sequence

import pytest

from bank.v1 import account_pb2 as account
from eventspine.rpc.logs import FIELDS
from eventspine.storage.bus import LocalBus
from eventspine.storage.codec import encode
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.memory.events import MemoryEventStore
from eventspine.storage.memory.log import MemoryEventLog
from eventspine.storage.records import GENESIS, Append, CommandRow, LogEntry, Stored
from processor_svc.positions import Bounds
from processor_svc.sequence import EXTEND_ENTRIES_MAX, Sequencer
from tests.processor.platform import NOW_US, eventually, record_of

PARTITIONS = 2

FORGETFUL = Bounds(streams_max=3, history_entries_max=0)


class Store:
    """Stored streams, of which any record can be published at any time."""

    def __init__(self, log: MemoryEventLog | None = None) -> None:
        self.events = MemoryEventStore()
        self.log = log or MemoryEventLog(PARTITIONS)
        self.bus = LocalBus(partitions=PARTITIONS)

    async def add(self, stream: str, count: int) -> list[LogEntry]:
        head = await self.events.head(stream)
        records, chain = [], head.chain if head.version else GENESIS
        for version in range(head.version + 1, head.version + count + 1):
            event = account.MoneyDeposited(account_id=stream, amount_cents=version)
            record, chain = encode(record_of(stream, version, event), chain)
            records.append(record)
        last = head.version + count
        command = CommandRow(f"c{last}", b"d" * 32, last, count, NOW_US)
        (outcome,) = await self.events.append(
            [Append(stream, head.version, tuple(records), (command,), chain)]
        )
        assert isinstance(outcome, Stored)
        partition = zlib.crc32(stream.encode()) % PARTITIONS
        return [LogEntry(partition, 0, stream, *record) for record in records]

    async def logged(self) -> dict[str, list[int]]:
        """Returns the versions of each stream in the order of the log, after checking it."""
        versions: dict[str, list[int]] = {}
        for partition in range(PARTITIONS):
            entries = await self.log.read(partition, limit=100_000)
            assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
            for entry in entries:
                assert entry.partition == partition
                versions.setdefault(entry.stream, []).append(entry.stream_version)
        return versions

    async def ended(self, count: int) -> None:
        async def there() -> bool:
            return sum(await self.log.ends()) >= count

        await eventually(there)


@pytest.mark.parametrize("bounds", [FORGETFUL, Bounds()], ids=["forgetful", "usual"])
@pytest.mark.parametrize("seed", range(8))
async def test_shuffled_repeated_and_missing_records_come_into_the_log_once_and_in_order(
    seed: int, bounds: Bounds
) -> None:
    # A failure names its seed: it is a part of the test's name.
    chance = random.Random(seed)
    store = Store()
    lengths = {f"account/{name}": chance.randint(1, 40) for name in "abcdefgh"}
    published: list[LogEntry] = []
    for stream, length in lengths.items():
        entries = await store.add(stream, length)
        kept = [one for one in entries[:-1] if chance.random() < 0.6]
        # The last one comes, so that the sequencer can know of those before it.
        published += chance.choices(kept, k=len(kept) // 2) + kept + [entries[-1]]
    chance.shuffle(published)
    sequencer = Sequencer(store.events, store.log, store.bus, bounds=bounds)
    await sequencer.start()
    while published:
        batch, published = published[:7], published[7:]
        await store.bus.publish("events", batch[0].partition, batch)
    await store.ended(sum(lengths.values()))
    await sequencer.stop()
    assert await store.logged() == {
        stream: list(range(1, length + 1)) for stream, length in lengths.items()
    }


async def test_two_sequencers_of_one_partition_put_each_record_into_the_log_once() -> None:
    store = Store()
    first = Sequencer(store.events, store.log, store.bus)
    second = Sequencer(store.events, store.log, store.bus)
    for turn in range(30):
        entries = await store.add(f"account/{turn % 3}", 2)
        partition = entries[0].partition
        # Both know a log that the other one has moved since.
        await first.sequence(partition, entries)
        await second.sequence(partition, entries)
        first, second = second, first
    assert await store.logged() == {f"account/{n}": list(range(1, 21)) for n in range(3)}


@pytest.mark.parametrize("bounds", [FORGETFUL, Bounds()], ids=["forgetful", "usual"])
async def test_a_new_sequencer_finds_in_the_log_how_far_each_stream_is(bounds: Bounds) -> None:
    store = Store()
    entries = await store.add("account/a", 100)
    partition = entries[0].partition
    await Sequencer(store.events, store.log, store.bus).sequence(partition, entries[:60])
    for again in ([entries[10]], [entries[59]], [entries[80]], entries[:100]):
        await Sequencer(store.events, store.log, store.bus, bounds=bounds).sequence(
            partition, again
        )
    assert await store.logged() == {"account/a": list(range(1, 101))}


async def test_sequenced_records_are_published_with_their_sequences() -> None:
    store = Store()
    reader = store.bus.tail("log")
    entries = await store.add("account/a", 2)
    await Sequencer(store.events, store.log, store.bus).sequence(entries[0].partition, entries)
    async with asyncio.timeout(5):
        batch = await anext(reader)
    await reader.aclose()
    assert [entry.sequence for entry in batch if isinstance(entry, LogEntry)] == [1, 2]


async def test_a_log_that_is_down_is_waited_for_and_nothing_is_left_out() -> None:
    class Down(MemoryEventLog):
        refusals = 2

        async def extend(self, partition: int, after: int, entries: object) -> None:
            if self.refusals:
                self.refusals -= 1
                raise StoreUnavailableError("the log is down", cause="test")
            await super().extend(partition, after, entries)  # type: ignore[arg-type]

    store = Store(Down(PARTITIONS))
    sequencer = Sequencer(store.events, store.log, store.bus)
    await sequencer.start()
    entries = await store.add("account/a", 3)
    await store.bus.publish("events", entries[0].partition, entries)
    await store.ended(3)
    await sequencer.stop()
    assert await store.logged() == {"account/a": [1, 2, 3]}


async def test_a_batch_that_was_interrupted_is_taken_by_the_next_sequencer() -> None:
    store = Store()
    first = Sequencer(store.events, store.log, store.bus)
    await first.start()
    entries = await store.add("account/a", 3)
    await store.bus.publish("events", entries[0].partition, entries)
    await first.stop()
    second = Sequencer(store.events, store.log, store.bus)
    await second.start()
    await store.ended(3)
    await second.stop()
    assert await store.logged() == {"account/a": [1, 2, 3]}


class CountingLog(MemoryEventLog):
    """A log that notes of which streams it was asked the last version."""

    def __init__(self) -> None:
        super().__init__(PARTITIONS)
        self.asked: list[str] = []

    async def versions(self, streams: Sequence[str]) -> list[int]:
        self.asked += streams
        return await super().versions(streams)


async def test_the_log_is_asked_for_no_stream_while_memory_holds_all_of_it() -> None:
    log = CountingLog()
    store = Store(log)
    sequencer = Sequencer(store.events, store.log, store.bus)
    for name in "abcdef":
        entries = await store.add(f"account/{name}", 3)
        marked = [entry._replace(republished=True) for entry in entries]
        for batch in (entries[:2], entries, marked):
            await sequencer.sequence(entries[0].partition, batch)
    assert log.asked == []
    assert await store.logged() == {f"account/{name}": [1, 2, 3] for name in "abcdef"}


async def test_a_first_publication_of_a_version_1_is_not_looked_up_once_memory_is_old_enough() -> (
    None
):
    log = CountingLog()
    store = Store(log)
    at_once = Bounds(late_seconds=0, history_entries_max=-1)
    sequencer = Sequencer(store.events, store.log, store.bus, bounds=at_once)
    a, b, c = [(await store.add(f"account/{name}", 2)) for name in "abc"]
    await sequencer.sequence(a[0].partition, a)
    await sequencer.sequence(b[0].partition, b[1:])
    await sequencer.sequence(c[0].partition, [entry._replace(republished=True) for entry in c])
    assert log.asked == ["account/b", "account/c"]
    assert await store.logged() == {f"account/{name}": [1, 2] for name in "abc"}


async def test_a_new_sequencer_looks_up_what_may_have_been_redelivered() -> None:
    log = CountingLog()
    store = Store(log)
    entries = await store.add("account/a", 2)
    await Sequencer(store.events, log, store.bus).sequence(entries[0].partition, entries)
    second = Sequencer(store.events, log, store.bus, bounds=Bounds(history_entries_max=0))
    await second.sequence(entries[0].partition, entries)
    assert log.asked == ["account/a"]
    assert await store.logged() == {"account/a": [1, 2]}


async def test_what_the_log_holds_does_not_say_that_it_was_published_again() -> None:
    store = Store()
    reader = store.bus.tail("log")
    entries = [one._replace(republished=True) for one in await store.add("account/a", 2)]
    await Sequencer(store.events, store.log, store.bus).sequence(entries[0].partition, entries)
    async with asyncio.timeout(5):
        told = await anext(reader)
    await reader.aclose()
    kept = await store.log.read(entries[0].partition)
    assert [one.republished for one in (*told, *kept) if isinstance(one, LogEntry)] == [False] * 4


async def test_many_records_go_into_the_log_in_parts_and_are_all_published() -> None:
    store = Store()
    reader = store.bus.tail("log")
    entries = await store.add("account/a", EXTEND_ENTRIES_MAX * 2 + 1)
    await Sequencer(store.events, store.log, store.bus).sequence(entries[0].partition, entries)
    assert await store.logged() == {"account/a": list(range(1, len(entries) + 1))}
    async with asyncio.timeout(5):
        told = await anext(reader)
    await reader.aclose()
    assert len(told) == len(entries)


async def test_one_partition_does_not_wait_for_another() -> None:
    class Stuck(MemoryEventLog):
        async def extend(self, partition: int, after: int, entries: Sequence[LogEntry]) -> None:
            if partition == stuck:
                await asyncio.Event().wait()
            await super().extend(partition, after, entries)

    store = Store(Stuck(PARTITIONS))
    by_partition = {}
    for name in "abcdefgh":
        entries = await store.add(f"account/{name}", 1)
        by_partition.setdefault(entries[0].partition, []).extend(entries)
    stuck = min(by_partition)
    sequencer = Sequencer(store.events, store.log, store.bus)
    await sequencer.start()
    everything = [entry for partition in sorted(by_partition) for entry in by_partition[partition]]
    await store.bus.publish("events", 0, everything)
    await store.ended(len(everything) - len(by_partition[stuck]))
    await sequencer.stop()


async def test_at_level_debug_each_event_is_told_with_its_ids_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "eventspine.sequence")
    store = Store()
    entries = await store.add("account/ann", 2)
    partition = entries[0].partition
    sequencer = Sequencer(store.events, store.log, store.bus)
    await sequencer.sequence(partition, entries)
    told = [getattr(record, FIELDS) for record in caplog.records if record.msg == "sequenced"]
    place = {"command_id": "", "stream": "account/ann", "partition": partition}
    assert told == [{**place, "stream_version": n, "sequence": n} for n in (1, 2)]
    figures = {figure.name: dict(figure.samples) for figure in sequencer.figures()}
    assert figures == {
        "eventspine_sequenced_batches_total": {(str(partition),): 1},
        "eventspine_sequenced_events_total": {(str(partition),): 2},
    }
