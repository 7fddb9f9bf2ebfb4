"""Step 4: what is stored reaches the bus, also when that is down for a while, within bounds."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from command_svc.publish import Publisher
from eventspine.storage.bus import LocalBus
from eventspine.storage.errors import BusUnavailableError
from eventspine.storage.records import GENESIS, Append, LogEntry, NewRecord
from tests.storage.until import settled, until

PARTITIONS = 4


class FailingBus:
    """A bus that can be down; when it fails, it may have taken the first of a batch."""

    def __init__(self) -> None:
        self.down = False
        self.takes_some = False
        self.refused = 0
        self.got: dict[int, list[LogEntry]] = defaultdict(list)

    def publish_now(self, channel: str, partition: int, messages: Sequence[LogEntry]) -> bool:
        return False

    async def publish(self, channel: str, partition: int, messages: Sequence[LogEntry]) -> None:
        await asyncio.sleep(0)
        assert channel == "events"
        if self.down:
            self.refused += 1
            if self.takes_some:
                self.got[partition].append(messages[0])
            raise BusUnavailableError("the bus is down", cause="test")
        self.got[partition] += messages

    def streams(self) -> dict[str, list[int]]:
        """Returns the versions of each stream, each once, in the order of their first arrival."""
        versions: dict[str, list[int]] = defaultdict(list)
        for entries in self.got.values():
            for entry in entries:
                if entry.stream_version not in versions[entry.stream]:
                    versions[entry.stream].append(entry.stream_version)
        return dict(versions)


def append(stream: str, first: int, count: int, size: int = 3) -> Append:
    records = tuple(
        NewRecord(version, "bank.v1.X", bytes(size)) for version in range(first, first + count)
    )
    return Append(stream, first - 1, records, (), GENESIS)


def started(bus: LocalBus) -> Publisher:
    publisher = Publisher(bus)
    publisher.start(1)
    return publisher


@pytest.fixture
async def bus() -> FailingBus:
    return FailingBus()


@pytest.fixture
async def publisher(bus: FailingBus) -> AsyncIterator[Publisher]:
    publisher = Publisher(bus, entries_max=1_000, bytes_max=100_000)  # type: ignore[arg-type]
    publisher.start(PARTITIONS)
    yield publisher
    await publisher.stop()


async def test_while_the_bus_is_down_all_waits_and_then_arrives_in_each_streams_order(
    bus: FailingBus, publisher: Publisher
) -> None:
    bus.down = bus.takes_some = True
    streams = [f"account/{name}" for name in "abcdefgh"]
    for first in range(1, 100, 3):
        for stream in streams:
            publisher.put(append(stream, first, 3), None)
        await settled()
    await until(lambda: bus.refused > 2 * PARTITIONS)
    bus.down = False
    await until(lambda: publisher.waiting == 0)
    assert bus.streams() == {stream: [*range(1, 100)] for stream in streams}
    assert publisher.left_out == 0


async def test_what_is_sent_again_says_that_it_may_have_come_before(
    bus: FailingBus, publisher: Publisher
) -> None:
    bus.down = bus.takes_some = True
    publisher.put(append("account/a", 1, 1), None)
    await until(lambda: bus.refused >= 1)
    bus.down = False
    await until(lambda: publisher.waiting == 0)
    (entries,) = bus.got.values()
    assert [entry.republished for entry in entries] == [False, *[True] * (len(entries) - 1)]
    assert len(entries) >= 2


@pytest.mark.parametrize("size", [3, 1_000], ids=["entries", "bytes"])
async def test_only_what_passes_the_bound_is_left_out_and_that_is_the_oldest(
    bus: FailingBus, publisher: Publisher, size: int
) -> None:
    bound = 1_000 if size == 3 else 100
    bus.down = True
    publisher.put(append("account/a", 1, 1, size), None)
    await until(lambda: bus.refused >= 1)
    # The first one is on its way, so the oldest of the others go.
    publisher.put(append("account/a", 2, bound - 1, size), None)
    assert publisher.left_out == 0
    publisher.put(append("account/a", bound + 1, 50, size), None)
    assert (publisher.left_out, publisher.waiting) == (50, bound)
    bus.down = False
    await until(lambda: publisher.waiting == 0)
    assert bus.streams() == {"account/a": [1, *range(52, bound + 51)]}
    assert publisher.left_out == 50


async def test_one_partition_that_is_stuck_does_not_hold_up_the_others(
    publisher: Publisher, bus: FailingBus
) -> None:
    stuck = asyncio.Event()
    through = bus.publish

    async def publish(channel: str, partition: int, messages: Sequence[LogEntry]) -> None:
        if partition == 1:
            await stuck.wait()
        await through(channel, partition, messages)

    bus.publish = publish  # type: ignore[method-assign]
    for number in range(40):
        publisher.put(append(f"account/{number}", 1, 1), None)
    await until(lambda: {0, 2, 3} <= bus.got.keys() and publisher.waiting < 20)
    assert 1 not in bus.got
    stuck.set()
    await until(lambda: publisher.waiting == 0)
    assert len(bus.streams()) == 40


async def test_a_stop_hands_on_what_waits(bus: FailingBus) -> None:
    publisher = Publisher(bus)  # type: ignore[arg-type]
    publisher.start(PARTITIONS)
    publisher.put(append("account/a", 1, 6_000), None)
    await publisher.stop()
    (entries,) = bus.got.values()
    assert [entry.stream_version for entry in entries] == [*range(1, 6_001)]
    assert publisher.left_out == 0


async def test_what_the_store_has_sequenced_is_handed_on_by_the_next_turn_as_one_batch() -> None:
    bus = LocalBus()
    publisher = started(bus)
    async with aclosing(bus.tail("log")) as tail:
        publisher.put(append("account/a", 1, 2), 1)
        publisher.put(append("account/b", 1, 1), 3)
        assert publisher.waiting == 3
        batch = await anext(tail)
        assert [message.sequence for message in batch] == [1, 2, 3]  # type: ignore[union-attr]
    assert publisher.waiting == 0
    await publisher.stop()


async def test_what_is_sequenced_waits_behind_what_a_slow_group_has_not_taken() -> None:
    bus = LocalBus(group_messages_max=1)
    publisher = started(bus)
    async with aclosing(bus.consume("log", "one")) as reader:
        sequences: list[int] = []
        for sequence in range(1, 20):
            publisher.put(append("account/a", sequence, 1), sequence)
            await settled(3)
        assert publisher.waiting > 0
        while len(sequences) < 19:
            sequences += [message.sequence for message in await anext(reader)]  # type: ignore[union-attr]
    assert sequences == [*range(1, 20)]
    await publisher.stop()


async def test_a_stop_hands_on_what_was_put_in_the_same_turn() -> None:
    bus = LocalBus()
    publisher = started(bus)
    async with aclosing(bus.tail("log")) as tail:
        publisher.put(append("account/a", 1, 1), 1)
        await publisher.stop()
        assert len(await anext(tail)) == 1
    assert publisher.left_out == 0
