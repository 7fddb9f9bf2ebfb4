"""What every Bus does."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from eventspine.storage.ports import Bus, BusMessage, BusReader
from eventspine.storage.records import (
    BuildsChange,
    LogEntry,
    PartialRow,
    ProgressChange,
    RowChange,
)
from eventspine.v1.record_pb2 import EventRecord

SECONDS = 30
"""How long a reader may take for what has to come; joining a group takes a moment."""


def entry(
    sequence: int, partition: int = 0, payload: bytes = b"payload", stream: str = "account/a"
) -> LogEntry:
    record = EventRecord(
        stream=stream,
        stream_version=sequence,
        event_id=f"c{sequence}.0",
        type="bank.v1.X",
        command_id=f"c{sequence}",
        tenant="default",
        payload=payload,
    )
    record.append_time.FromMicroseconds(1_700_000_000_000_000 + sequence)
    encoded = record.SerializeToString()
    return LogEntry(partition, sequence, stream, sequence, "bank.v1.X", encoded)


def entries(first: int, last: int, partition: int = 0) -> list[LogEntry]:
    return [entry(sequence, partition) for sequence in range(first, last + 1)]


async def taken(reader: BusReader, count: int) -> list[BusMessage]:
    """Takes batches until there are so many messages."""
    messages: list[BusMessage] = []
    async with asyncio.timeout(SECONDS):
        while len(messages) < count:
            messages += await anext(reader)
    return messages


class BusSuite:
    """A backend's file gives the fixture `bus`, of two partitions."""

    async def test_every_tail_gets_what_is_published_after_it_was_asked_for(self, bus: Bus) -> None:
        await bus.publish("log", 0, entries(1, 2))
        async with aclosing(bus.tail("log")) as one, aclosing(bus.tail("log")) as two:
            await bus.publish("log", 0, entries(3, 4))
            await bus.publish("log", 0, entries(5, 5))
            assert await taken(one, 3) == entries(3, 5)
            assert await taken(two, 3) == entries(3, 5)

    async def test_channels_are_apart(self, bus: Bus) -> None:
        change = BuildsChange("bank.v1.AccountBalance")
        async with aclosing(bus.tail("changes")) as reader:
            await bus.publish("log", 0, entries(1, 1))
            await bus.publish("changes", 0, [change])
            assert await taken(reader, 1) == [change]

    async def test_changes_of_every_kind_arrive_as_they_were_told(self, bus: Bus) -> None:
        told: list[BusMessage] = [
            RowChange("bank.v1.Row@1", 1, b"\x02\xffkey", PartialRow(1, 7, b"row")),
            RowChange("bank.v1.Row@1", 1, b"", PartialRow(1, 8, b"")),
            RowChange("bank.v1.Row@1", 1, b"\x02key", PartialRow(1, 9, None)),
            ProgressChange("bank.v1.Row@1", 1, 9, 6),
            BuildsChange("bank.v1.Row"),
        ]
        async with aclosing(bus.tail("changes")) as reader:
            await bus.publish("changes", 1, told)
            assert await taken(reader, len(told)) == told

    async def test_nothing_published_is_nothing_told(self, bus: Bus) -> None:
        async with aclosing(bus.tail("log")) as reader:
            await bus.publish("log", 0, [])
            await bus.publish("log", 1, entries(1, 1, partition=1))
            assert await taken(reader, 1) == entries(1, 1, partition=1)

    async def test_a_step_that_was_cancelled_can_be_taken_again(self, bus: Bus) -> None:
        async with aclosing(bus.tail("log")) as reader:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(reader), 0.001)
            await bus.publish("log", 0, entries(1, 1))
            assert await taken(reader, 1) == entries(1, 1)

    async def test_a_closed_tail_ends_also_where_it_waits(self, bus: Bus) -> None:
        reader = bus.tail("log")
        waiting = asyncio.create_task(_all(reader))
        await asyncio.sleep(0)
        await reader.aclose()
        assert await asyncio.wait_for(waiting, SECONDS) == []
        await reader.aclose()

    async def test_a_group_gets_every_message_once_while_nobody_falls_over(self, bus: Bus) -> None:
        async with aclosing(bus.consume("events", "sequencer")) as reader:
            await bus.publish("events", 0, entries(1, 3))
            await bus.publish("events", 0, entries(4, 4))
            assert await taken(reader, 4) == entries(1, 4)

    async def test_what_is_to_be_published_now_is_handed_on_whole_or_not_at_all(
        self, bus: Bus
    ) -> None:
        async with (
            aclosing(bus.tail("log")) as tail,
            aclosing(bus.consume("events", "sequencer")) as reader,
        ):
            for channel, follower in (("log", tail), ("events", reader)):
                at_once = bus.publish_now(channel, 0, entries(1, 2))
                await bus.publish(channel, 0, entries(3, 3))
                expected = entries(1, 3) if at_once else entries(3, 3)
                assert await taken(follower, len(expected)) == expected

    async def test_a_group_gets_each_partition_in_order(self, bus: Bus) -> None:
        async with aclosing(bus.consume("events", "sequencer")) as reader:
            for first in range(1, 100, 3):
                await bus.publish("events", 0, entries(first, first + 2))
                await bus.publish("events", 1, entries(first, first + 2, partition=1))
            messages = await taken(reader, 198)
        for partition in (0, 1):
            of_it = [one for one in messages if isinstance(one, LogEntry) and one[0] == partition]
            assert of_it == entries(1, 99, partition)

    async def test_a_consumer_that_ends_leaves_its_batch_and_the_rest_to_the_next(
        self, bus: Bus
    ) -> None:
        async with aclosing(bus.consume("events", "sequencer")) as reader:
            await bus.publish("events", 0, entries(1, 2))
            assert await taken(reader, 2) == entries(1, 2)
        await bus.publish("events", 0, entries(3, 3))
        async with aclosing(bus.consume("events", "sequencer")) as reader:
            assert await taken(reader, 3) == entries(1, 3)

    async def test_a_consumer_that_took_the_next_step_is_done_with_the_batch_before(
        self, bus: Bus
    ) -> None:
        async with aclosing(bus.consume("events", "sequencer")) as reader:
            await bus.publish("events", 0, entries(1, 2))
            assert await taken(reader, 2) == entries(1, 2)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(reader), 0.001)
        async with aclosing(bus.consume("events", "sequencer")) as reader:
            await bus.publish("events", 0, entries(3, 3))
            assert await taken(reader, 1) == entries(3, 3)

    async def test_two_groups_each_get_everything(self, bus: Bus) -> None:
        async with (
            aclosing(bus.consume("events", "one")) as one,
            aclosing(bus.consume("events", "two")) as two,
        ):
            await bus.publish("events", 0, entries(1, 2))
            assert await taken(one, 2) == entries(1, 2)
            assert await taken(two, 2) == entries(1, 2)

    async def test_a_closed_consumer_ends_also_where_it_waits(self, bus: Bus) -> None:
        reader = bus.consume("events", "sequencer")
        waiting = asyncio.create_task(_all(reader))
        await asyncio.sleep(0)
        await reader.aclose()
        assert await asyncio.wait_for(waiting, SECONDS) == []

    async def test_a_consumer_that_is_alone_in_its_group_owns_all_partitions(
        self, bus: Bus
    ) -> None:
        async with aclosing(bus.consume("events", "sequencer")) as reader:
            await bus.publish("events", 0, entries(1, 1))
            assert await taken(reader, 1) == entries(1, 1)
            assert reader.owned == {0, 1}

    async def test_a_process_that_is_alone_in_a_group_owns_all_partitions(self, bus: Bus) -> None:
        async with aclosing(bus.shares("projector")) as shares:
            assert await asyncio.wait_for(anext(shares), SECONDS) == {0, 1}
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(shares), 0.001)

    async def test_a_closed_share_ends_also_where_it_waits(self, bus: Bus) -> None:
        shares = bus.shares("projector")
        await asyncio.wait_for(anext(shares), SECONDS)
        waiting = asyncio.ensure_future(anext(shares))
        await asyncio.sleep(0)
        await shares.aclose()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, SECONDS)
        await shares.aclose()


async def _all(reader: BusReader) -> list[Sequence[BusMessage]]:
    return [batch async for batch in reader]
