"""The steps of a subscription: cut out of pages, shared, and made ahead."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from eventspine.storage.bus import LocalBus
from eventspine.storage.memory.log import MemoryEventLog
from eventspine.storage.records import LogEntry
from eventspine.storage.tail import LogTail
from eventspine.v1.record_pb2 import EventRecord
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeResponse
from query_svc.feed import Encoder, Feed, Memo, Place
from query_svc.filter import compile_filter

ENTRIES = 25
RECORDS_MAX = 10


class CountingLog(MemoryEventLog):
    """A log that notes from where it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.read_after: list[int] = []

    async def read(self, partition: int, *, after: int = 0, limit: int = 500) -> list[LogEntry]:
        self.read_after.append(after)
        return await super().read(partition, after=after, limit=limit)

    async def read_encoded(
        self, partition: int, *, after: int = 0, limit: int = 500
    ) -> list[bytes]:
        self.read_after.append(after)
        return await super().read_encoded(partition, after=after, limit=limit)


def entry(sequence: int) -> LogEntry:
    category = "even" if sequence % 2 == 0 else "odd"
    stream, version = f"{category}/1", (sequence + 1) // 2
    record = EventRecord(stream=stream, stream_version=version, type="t", payload=b"p")
    return LogEntry(0, sequence, stream, version, "t", record.SerializeToString())


@pytest.fixture
async def log() -> CountingLog:
    log = CountingLog()
    await log.extend(0, 0, [entry(sequence) for sequence in range(1, ENTRIES + 1)])
    return log


@pytest.fixture
async def tail(log: CountingLog) -> AsyncIterator[LogTail]:
    tail = LogTail(log, LocalBus(), poll_seconds=3_600)
    await tail.start()
    log.read_after.clear()
    yield tail
    await tail.stop()


def fed(tail: LogTail, memo: Memo, wanted: EventFilter) -> Feed:
    return Feed(tail, memo, Encoder("store", compile_filter(wanted), RECORDS_MAX))


async def sent(feed: Feed, *, pause: bool) -> list[Sequence[int]]:
    """Takes all steps; returns the sequences in each message."""
    place: Place = (0,)
    messages: list[Sequence[int]] = []
    while step := await feed.step(place, 0):
        place = step.place
        if step.message is not None:
            batch = SubscribeResponse.FromString(step.message).batch
            expected = [entry(sequence).encoded for sequence in batch.sequences]
            assert [record.SerializeToString() for record in batch.records] == expected
            messages.append(list(batch.sequences))
        if pause:
            await asyncio.sleep(0)
    assert place == (ENTRIES,)
    return messages


@pytest.mark.parametrize("pause", [False, True])
async def test_steps_hold_each_event_once_in_order(tail: LogTail, *, pause: bool) -> None:
    everything = await sent(fed(tail, Memo(100), EventFilter()), pause=pause)
    assert everything == [list(range(1, 11)), list(range(11, 21)), list(range(21, 26))]
    odd = await sent(fed(tail, Memo(100), EventFilter(categories=["odd"])), pause=pause)
    assert odd == [list(range(1, 20, 2)), list(range(21, 26, 2))]


async def test_one_page_serves_its_steps_and_other_subscriptions_at_the_same_places(
    tail: LogTail, log: CountingLog
) -> None:
    memo = Memo(100)
    for _ in range(2):
        await sent(fed(tail, memo, EventFilter()), pause=True)
    assert log.read_after == [0]


async def test_the_next_step_is_made_while_the_transport_is_busy(
    tail: LogTail, log: CountingLog
) -> None:
    memo = Memo(100)
    feed = fed(tail, memo, EventFilter())
    step = await feed.step((0,), 0)
    assert step is not None
    await asyncio.sleep(0)
    read = list(log.read_after)
    other = fed(tail, memo, EventFilter())
    following = await other.step(step.place, 0)
    assert following is not None
    assert following.place == (20,)
    assert log.read_after == read
