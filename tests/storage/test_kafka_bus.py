"""The bus over a real Kafka: the suite, and what only a broker and other processes can do to it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from itertools import pairwise
from uuid import uuid4

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from eventspine.rpc.limits import EVENT_BYTES_MAX, METADATA_BYTES_MAX
from eventspine.storage.kafka.bus import KafkaBus
from eventspine.storage.kafka.group import GroupReader
from eventspine.storage.kafka.membership import COMMIT_SECONDS
from eventspine.storage.kafka.messages import CHANGE_BYTES_MAX
from eventspine.storage.kafka.settings import CHANNELS, KafkaSettings
from eventspine.storage.ports import ShareReader
from eventspine.storage.records import LogEntry, PartialRow, ProgressChange, RowChange
from eventspine.v1.record_pb2 import EventRecord
from tests.storage.bus_suite import SECONDS, BusSuite, entries, entry, taken
from tests.storage.until import until

pytestmark = pytest.mark.stack


@pytest.fixture
def settings(kafka: str) -> Iterator[KafkaSettings]:
    settings = KafkaSettings(
        bootstrap_servers=kafka,
        prefix=f"kafkabus-{uuid4().hex[:12]}",
        partitions=2,
        publish_timeout_seconds=30,
        start_timeout_seconds=120,
    )
    yield settings
    delete_topics(settings)


@pytest.fixture
async def bus(settings: KafkaSettings) -> AsyncIterator[KafkaBus]:
    opened = await KafkaBus.open(settings)
    yield opened
    await opened.close()


class TestKafkaBus(BusSuite):
    """The suite."""


async def test_records_travel_as_cloud_events_with_their_trace_and_their_very_bytes(
    bus: KafkaBus, settings: KafkaSettings
) -> None:
    record = EventRecord(
        stream="account/zoë 1",
        stream_version=3,
        event_id="c7.0",
        type="bank.v1.MoneyDeposited",
        command_id="c7",
        tenant="default",
        metadata={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
        payload=b"payload",
    )
    record.append_time.FromMicroseconds(1_700_000_000_123_456)
    value = record.SerializeToString()
    sent = LogEntry(1, 42, record.stream, 3, record.type, value)
    await bus.publish("log", 1, [sent])
    (message,) = await asyncio.to_thread(raw_messages, settings, "log", 1)
    assert message.partition() == 1
    assert message.key() == "account/zoë 1".encode()
    assert message.value() == value
    assert dict(message.headers() or []) == {
        "ce_specversion": b"1.0",
        "content-type": b"application/protobuf",
        "ce_dataschema": b"proto:eventspine.v1.EventRecord",
        "ce_id": b"c7.0",
        "ce_source": f"/{settings.prefix}/default/account/zo%C3%AB%201".encode(),
        "ce_type": b"bank.v1.MoneyDeposited",
        "ce_subject": "account/zoë 1".encode(),
        "ce_time": b"2023-11-14T22:13:20.123456Z",
        "ce_streamversion": b"3",
        "ce_logpartition": b"1",
        "ce_sequence": b"42",
        "traceparent": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }


async def test_a_largest_event_fits_and_a_row_that_does_not_is_told_as_left_out(
    bus: KafkaBus,
) -> None:
    largest = entry(1, payload=bytes(EVENT_BYTES_MAX + METADATA_BYTES_MAX))
    row = RowChange("bank.v1.Row@1", 0, b"key", PartialRow(0, 1, bytes(CHANGE_BYTES_MAX)))
    progress = ProgressChange("bank.v1.Row@1", 0, 1)
    async with aclosing(bus.tail("log")) as log, aclosing(bus.tail("changes")) as changes:
        await bus.publish("log", 0, [largest])
        assert await taken(log, 1) == [largest]
        await bus.publish("changes", 0, [progress])
        assert await taken(changes, 1) == [progress]
        await bus.publish("changes", 0, [row])
        async with asyncio.timeout(SECONDS):
            assert await anext(changes) == ()


async def test_a_message_of_somebody_else_is_passed_over_and_the_next_ones_arrive(
    bus: KafkaBus, settings: KafkaSettings
) -> None:
    async with (
        aclosing(bus.tail("log")) as tail,
        aclosing(bus.consume("log", "group")) as group,
    ):
        await bus.publish("log", 0, entries(1, 1))
        await asyncio.to_thread(produce_raw, settings, "log", b"no record of ours")
        await bus.publish("log", 0, entries(2, 2))
        assert await taken(tail, 2) == entries(1, 2)
        assert await taken(group, 2) == entries(1, 2)


async def test_a_service_whose_clock_is_two_hours_ahead_can_publish(
    bus: KafkaBus, settings: KafkaSettings
) -> None:
    ahead_ms = int((time.time() + 2 * 3600) * 1000)
    await asyncio.to_thread(produce_raw, settings, "log", b"early", timestamp=ahead_ms)
    (message,) = await asyncio.to_thread(raw_messages, settings, "log", 1)
    assert message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME
    assert message.timestamp()[1] < ahead_ms - 3600 * 1000


async def test_a_batch_in_hand_when_its_partition_moves_is_the_new_owners(
    bus: KafkaBus, settings: KafkaSettings
) -> None:
    published = {partition: entries(1, 3, partition) for partition in (0, 1)}
    other = await KafkaBus.open(settings)
    first = bus.consume("events", "sequencer")
    for partition, batch in published.items():
        await bus.publish("events", partition, batch)
    # All of it in one batch, none of which is done with before the next step.
    await eventually(lambda: first._count == 6)
    assert len(await anext(first)) == 6
    second = other.consume("events", "sequencer")
    await eventually(lambda: len(first.owned) == 1 and len(second.owned) == 1)
    assert first.owned | second.owned == {0, 1}
    (moved,) = second.owned
    assert await taken(second, 3) == published[moved]
    # The old owner is done with what it had in hand; of the moved partition that counts no more.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(first), 2 * COMMIT_SECONDS)
    await first.aclose()
    await second.aclose()
    async with aclosing(other.consume("events", "sequencer")) as third:
        await other.publish("events", 1 - moved, entries(4, 4, 1 - moved))
        again = await taken(third, 4)
    assert [one for one in again if one[0] == moved] == published[moved]
    assert [one for one in again if one[0] != moved] == entries(4, 4, 1 - moved)
    await other.close()


async def test_while_members_come_and_go_nothing_is_lost_and_each_owner_reads_in_order(
    bus: KafkaBus, settings: KafkaSettings
) -> None:
    seen: dict[str, list[LogEntry]] = {"one": [], "two": []}

    async def follow(reader: GroupReader, name: str) -> None:
        async for batch in reader:
            seen[name] += [one for one in batch if isinstance(one, LogEntry)]

    other = await KafkaBus.open(settings)
    readers = [bus.consume("events", "sequencer"), other.consume("events", "sequencer")]
    tasks = [
        asyncio.create_task(follow(reader, name))
        for reader, name in zip(readers, seen, strict=True)
    ]
    for sequence in range(1, 201):
        for partition in (0, 1):
            await bus.publish("events", partition, [entry(sequence, partition)])
        if sequence == 100:
            await eventually(lambda: all(len(reader.owned) == 1 for reader in readers))
        if sequence == 150:
            await readers[0].aclose()
    every = {(partition, sequence) for partition in (0, 1) for sequence in range(1, 201)}
    await eventually(lambda: {one[:2] for of in seen.values() for one in of} == every)
    await other.close()
    await asyncio.gather(*tasks)
    for partition in (0, 1):
        one, two = (
            [entry.sequence for entry in of if entry.partition == partition] for of in seen.values()
        )
        for mine, others in ((one, two), (two, one)):
            # A repetition begins a run anew; what is skipped was the other's meanwhile.
            assert all(set(range(a + 1, b)) <= set(others) for a, b in pairwise(mine))


async def test_two_processes_share_the_partitions_and_one_takes_over_from_the_other(
    bus: KafkaBus, settings: KafkaSettings
) -> None:
    other = await KafkaBus.open(settings)
    mine, theirs = Owned(bus.shares("projector")), Owned(other.shares("projector"))
    await eventually(lambda: len(mine.now) == 1 and len(theirs.now) == 1)
    assert mine.now | theirs.now == {0, 1}
    await theirs.stop()
    await eventually(lambda: mine.now == {0, 1})
    await mine.stop()
    await other.close()


async def test_a_group_that_does_not_step_on_holds_a_bounded_number_and_loses_none(
    bus: KafkaBus, settings: KafkaSettings
) -> None:
    def decode(message: Message) -> LogEntry:
        decoded.append(message.offset() or 0)
        return entry((message.offset() or 0) + 1)

    decoded: list[int] = []
    topic, group = settings.topic("events"), f"{settings.prefix}.slow"
    async with aclosing(GroupReader(settings, topic, group, decode, messages_max=10)) as reader:
        await eventually(lambda: reader.owned == {0, 1})
        for first in range(1, 4000, 100):
            await bus.publish("events", 0, entries(first, first + 99))
        held = len(decoded)
        assert held < 3000
        messages = await taken(reader, 4000)
        assert [one.sequence for one in messages if isinstance(one, LogEntry)] == [*range(1, 4001)]


async def test_a_topic_that_is_emptied_and_made_anew_is_told_as_left_out(
    bus: KafkaBus, settings: KafkaSettings
) -> None:
    async with aclosing(bus.tail("changes")) as tail:
        await bus.publish("changes", 0, [ProgressChange("r@1", 0, 1)])
        assert await taken(tail, 1) == [ProgressChange("r@1", 0, 1)]
        await asyncio.to_thread(delete_topics, settings, ("changes",))
        other = await KafkaBus.open(settings)
        async with asyncio.timeout(2 * SECONDS):
            assert await anext(tail) == ()
        await other.publish("changes", 0, [ProgressChange("r@1", 0, 2)])
        assert await taken(tail, 1) == [ProgressChange("r@1", 0, 2)]
        await other.close()


async def test_a_producer_that_broke_down_is_replaced(bus: KafkaBus) -> None:
    async with aclosing(bus.tail("log")) as tail:
        await bus.publish("log", 0, entries(1, 1))
        before = bus._sender._producers[-1]
        bus._sender.failed(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
        await eventually(lambda: bus._sender._producers[-1] is not before)
        await bus.publish("log", 0, entries(2, 2))
        assert await taken(tail, 2) == entries(1, 2)


class Owned:
    """What a process owns of a group, followed."""

    def __init__(self, shares: ShareReader) -> None:
        self.now: frozenset[int] = frozenset()
        self._shares = shares
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for owned in self._shares:
            self.now = owned

    async def stop(self) -> None:
        await self._shares.aclose()
        await self._task


async def eventually(condition: Callable[[], bool]) -> None:
    await until(condition, 2 * SECONDS)


def raw_messages(settings: KafkaSettings, channel: str, count: int) -> list[Message]:
    """Reads a topic as somebody else would."""
    consumer = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": "raw"})
    topic = settings.topic(channel)
    consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(2)])
    messages = consumer.consume(count, SECONDS)
    consumer.close()
    assert [message.error() for message in messages] == [None] * count
    return messages


def produce_raw(settings: KafkaSettings, channel: str, value: bytes, *, timestamp: int = 0) -> None:
    """Writes to a topic as somebody else would."""
    errors: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    producer.produce(
        settings.topic(channel),
        value,
        partition=0,
        timestamp=timestamp,
        on_delivery=lambda error, _: errors.append(error),
    )
    producer.flush(SECONDS)
    assert errors == [None]


def delete_topics(settings: KafkaSettings, channels: Sequence[str] = CHANNELS) -> None:
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    for deleted in admin.delete_topics([settings.topic(one) for one in channels]).values():
        deleted.exception(SECONDS)
