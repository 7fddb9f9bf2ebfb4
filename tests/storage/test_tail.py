"""The shared window on the end of the log."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from eventspine.storage.bus import LocalBus
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.memory.log import MemoryEventLog
from eventspine.storage.records import LogEntry, LogPlace
from eventspine.storage.tail import ENTRY_BYTES, LogTail
from tests.storage.bus_suite import entries, entry
from tests.storage.until import settled, until

NEVER = 3600.0


def encoded(first: int, last: int) -> list[bytes]:
    return [entry.encoded for entry in entries(first, last)]


class CountingLog(MemoryEventLog):
    """A log that counts how many entries were read from it, and can be out of order."""

    def __init__(self, partitions: int = 1) -> None:
        super().__init__(partitions)
        self.entries_read = 0
        self.unavailable = False

    async def read(self, partition: int, *, after: int = 0, limit: int = 500) -> list[LogEntry]:
        if self.unavailable:
            raise StoreUnavailableError("the log is down", cause="test")
        found = await super().read(partition, after=after, limit=limit)
        self.entries_read += len(found)
        return found


class Around:
    """A log and a bus, and the tail between them."""

    def __init__(self, partitions: int = 1) -> None:
        self.log = CountingLog(partitions)
        self.bus = LocalBus()
        self.tails: list[LogTail] = []

    async def store(self, stored: Sequence[LogEntry]) -> None:
        """Puts entries of one partition into the log, and says nothing on the bus."""
        await self.log.extend(stored[0].partition, stored[0].sequence - 1, stored)

    async def tell(self, stored: Sequence[LogEntry]) -> None:
        await self.bus.publish("log", stored[0].partition, stored)

    async def started(self, **settings: float) -> LogTail:
        tail = LogTail(self.log, self.bus, **{"poll_seconds": NEVER, **settings})  # type: ignore[arg-type] # bounds are whole numbers
        self.tails.append(tail)
        await tail.start()
        await settled()
        return tail


@pytest.fixture
async def around() -> AsyncIterator[Around]:
    around = Around()
    yield around
    for tail in around.tails:
        await tail.stop()


async def test_it_begins_at_the_ends_of_the_log_and_reads_history_from_there(
    around: Around,
) -> None:
    await around.store(entries(1, 5))
    tail = await around.started()
    assert (tail.partitions, tail.end(0), tail.ends) == (1, 5, (5,))
    assert await tail.read(0, after=1, limit=2) == entries(2, 3)
    assert await tail.read(0, after=5, limit=10) == ()
    assert await tail.read_encoded(0, after=1, limit=2) == encoded(2, 3)
    assert await tail.read_encoded(0, after=5, limit=10) == []


async def test_what_the_bus_brings_is_read_without_the_log_and_shared(around: Around) -> None:
    tail = await around.started()
    stored = entries(1, 4)
    await around.store(stored)
    await around.tell(stored)
    assert await tail.wait(0, 3, 5)
    one, two = [await tail.read(0, after=1, limit=2) for _ in range(2)]
    assert list(one) == entries(2, 3)
    assert (
        [id(found) for found in one] == [id(found) for found in two] == list(map(id, stored[1:3]))
    )
    assert around.log.entries_read == 0


async def test_what_this_process_has_put_into_the_log_needs_no_bus(around: Around) -> None:
    tail = LogTail(around.log, around.bus, poll_seconds=NEVER)
    await tail.extended(0, entries(1, 1))
    tail = await around.started()
    stored = entries(1, 4)
    await around.store(stored)
    await tail.extended(0, stored[2:])
    assert list(await tail.read(0, after=0, limit=9)) == stored
    await around.tell(stored)
    await settled()
    assert list(await tail.read(0, after=0, limit=9)) == stored
    assert await tail.read_encoded(0, after=1, limit=2) == encoded(2, 3)
    assert around.log.entries_read == 2


async def test_messages_twice_and_in_another_order_make_no_difference(around: Around) -> None:
    tail = await around.started()
    await around.store(entries(1, 6))
    for first, last in ((4, 5), (1, 3), (2, 5), (6, 6), (1, 1)):
        await around.tell(entries(first, last))
    await until(lambda: tail.end(0) == 6)
    assert list(await tail.read(0, after=0, limit=100)) == entries(1, 6)
    assert around.log.entries_read == 0


async def test_a_hole_is_read_from_the_log_and_nothing_else_is(around: Around) -> None:
    tail = await around.started()
    await around.store(entries(1, 10))
    await around.tell(entries(1, 2))
    await around.tell(entries(6, 7))
    await around.tell([entry(9)])
    await until(lambda: tail.end(0) == 9)
    assert list(await tail.read(0, after=0, limit=100)) == entries(1, 9)
    assert around.log.entries_read == 4


async def test_an_entry_whose_message_never_comes_is_found_by_looking(around: Around) -> None:
    tail = await around.started(poll_seconds=0.01)
    await around.store(entries(1, 3))
    assert await tail.wait(0, 0, 5)
    assert list(await tail.read(0, after=0, limit=100)) == entries(1, 3)


async def test_a_tail_that_the_bus_left_behind_catches_up_from_the_log(around: Around) -> None:
    around.bus = LocalBus(tail_messages_max=5)
    tail = await around.started()
    await around.store(entries(1, 20))
    await around.tell(entries(1, 20))
    await until(lambda: tail.end(0) == 20)
    assert list(await tail.read(0, after=0, limit=100)) == entries(1, 20)


async def test_what_was_stored_while_it_began_is_found(around: Around) -> None:
    class Slow(CountingLog):
        """Entries come between its answer and the caller's next step."""

        async def ends(self) -> tuple[int, ...]:
            ends = await super().ends()
            if ends == (0,):
                await self.extend(0, 0, entries(1, 3))
            return ends

    around.log = Slow()
    tail = await around.started()
    assert await tail.wait(0, 2, 5)


async def test_a_message_before_its_entry_is_in_the_log_waits_for_the_log(around: Around) -> None:
    tail = await around.started(poll_seconds=0.01)
    await around.tell([entry(3)])
    await settled()
    assert tail.end(0) == 0
    await around.store(entries(1, 3))
    assert await tail.wait(0, 2, 5)
    assert list(await tail.read(0, after=0, limit=100)) == entries(1, 3)


async def test_the_window_is_bounded_by_entries_and_the_rest_comes_from_the_log(
    around: Around,
) -> None:
    tail = await around.started(entries_max=10)
    for sequence in range(1, 101):
        await around.store([entry(sequence)])
        await around.tell([entry(sequence)])
        assert await tail.wait(0, sequence - 1, 5)
    assert list(await tail.read(0, after=90, limit=100)) == entries(91, 100)
    assert around.log.entries_read == 0
    # What the window has is not read again.
    assert list(await tail.read(0, after=85, limit=100)) == entries(86, 90)
    assert around.log.entries_read == 5


async def test_the_window_is_bounded_by_bytes(around: Around) -> None:
    stored = [entry(sequence, payload=bytes(600)) for sequence in range(1, 51)]
    largest = max(len(one.encoded) for one in stored) + ENTRY_BYTES
    tail = await around.started(bytes_max=10 * largest)
    await around.store(stored)
    await around.tell(stored)
    assert await tail.wait(0, 49, 5)
    assert list(await tail.read(0, after=40, limit=100)) == stored[40:]
    assert around.log.entries_read == 0
    assert len(await tail.read(0, after=39, limit=100)) == 1
    assert around.log.entries_read == 1


async def test_an_entry_above_the_bound_is_let_go_and_read_from_the_log(around: Around) -> None:
    tail = await around.started(bytes_max=100)
    await around.store(entries(1, 1))
    await around.tell(entries(1, 1))
    assert await tail.wait(0, 0, 5)
    assert list(await tail.read(0, after=0, limit=100)) == entries(1, 1)


async def test_a_gap_wider_than_the_window_is_not_read_through(around: Around) -> None:
    tail = await around.started(entries_max=10, poll_seconds=0.01)
    await around.store(entries(1, 1000))
    assert await tail.wait(0, 999, 5)
    assert around.log.entries_read == 0
    assert list(await tail.read(0, after=990, limit=100)) == entries(991, 1000)


async def test_a_burst_wakes_those_who_wait_once(around: Around) -> None:
    tail = await around.started()
    ends: list[int] = []

    async def follow() -> None:
        while tail.end(0) < 500:
            assert await tail.wait(0, tail.end(0), 5)
            ends.append(tail.end(0))

    following = [asyncio.create_task(follow()) for _ in range(200)]
    await settled()
    await around.store(entries(1, 500))
    for first in range(1, 500, 10):
        await around.tell(entries(first, first + 9))
    await asyncio.wait_for(asyncio.gather(*following), 5)
    assert ends == [500] * 200


async def test_waiting_for_a_place_ahead_goes_on_until_it_is_there(around: Around) -> None:
    tail = await around.started()
    waiting = asyncio.create_task(tail.wait(0, 2, 5))
    for sequence in (1, 2):
        await around.store([entry(sequence)])
        await around.tell([entry(sequence)])
        await settled()
        assert not waiting.done()
    await around.store([entry(3)])
    await around.tell([entry(3)])
    assert await waiting


async def test_waiting_ends_when_the_time_is_up(around: Around) -> None:
    tail = await around.started()
    assert not await tail.wait(0, 0, 0.001)
    assert not await tail.wait(0, 0, 0)


async def test_a_log_that_is_down_for_a_while_is_waited_for(
    around: Around, caplog: pytest.LogCaptureFixture
) -> None:
    tail = await around.started(poll_seconds=0.01)
    around.log.unavailable = True
    await around.store(entries(1, 3))
    await until(lambda: "the log is down" in caplog.text)
    around.log.unavailable = False
    assert await tail.wait(0, 2, 5)


async def test_what_came_before_a_hole_that_cannot_be_read_yet_is_told(around: Around) -> None:
    tail = await around.started()
    await around.store(entries(1, 3))
    around.log.unavailable = True
    waiting = asyncio.create_task(tail.wait(0, 0, 5))
    await settled()
    await around.tell([entry(1), entry(3)])
    await settled()
    assert waiting.done()
    assert await tail.read(0, after=0, limit=100) == [entry(1)]


async def test_partitions_are_followed_apart() -> None:
    around = Around(partitions=3)
    tail = await around.started()
    await around.store([entry(1, partition=2)])
    await around.bus.publish("log", 2, [entry(1, partition=2)])
    assert await tail.wait(2, 0, 5)
    assert (tail.partitions, tail.ends) == (3, (0, 0, 1))
    assert not await tail.wait(1, 0, 0)
    await tail.stop()


async def test_it_can_be_stopped_twice_and_keeps_what_it_has(around: Around) -> None:
    tail = await around.started()
    await around.store(entries(1, 3))
    await around.tell(entries(1, 3))
    assert await tail.wait(0, 2, 5)
    await tail.stop()
    await tail.stop()
    assert list(await tail.read(0, after=0, limit=100)) == entries(1, 3)


async def test_the_place_of_an_entry_is_known_for_as_long_as_it_is_in_the_window(
    around: Around,
) -> None:
    tail = await around.started(entries_max=10, poll_seconds=0.01)
    for first, asked in ((1, 5), (6, 10), (11, 15)):
        await around.store(entries(first, first + 4))
        await around.tell(entries(first, first + 4))
        assert await tail.wait(0, first + 3, 5)
        assert tail.place("account/a", asked) == LogPlace(0, asked)
        assert tail.place("account/a", asked + 1) is None
    assert tail.place("account/a", 5) is None
    assert tail.place("account/a", 6) == LogPlace(0, 6)
    await around.store(entries(16, 100))
    assert await tail.wait(0, 99, 5)
    assert [tail.place("account/a", version) for version in (6, 15, 50)] == [None] * 3


async def test_it_can_be_started_by_several_who_need_it(around: Around) -> None:
    tail = await around.started()
    await asyncio.gather(tail.start(), tail.start())
    await around.store(entries(1, 3))
    await around.tell(entries(1, 3))
    assert await tail.wait(0, 2, 5)
