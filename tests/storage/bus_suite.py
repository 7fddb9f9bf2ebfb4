"""What every Bus does."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from eventspine.storage.ports import Bus, BusMessage, BusReader
from eventspine.storage.records import LogEntry


def entry(sequence: int, partition: int = 0, payload: bytes = b"record") -> LogEntry:
    return LogEntry(partition, sequence, "account/a", sequence, "bank.v1.X", payload)


def entries(first: int, last: int) -> list[LogEntry]:
    return [entry(sequence) for sequence in range(first, last + 1)]


async def taken(reader: BusReader, count: int) -> list[BusMessage]:
    """Takes batches until there are so many messages."""
    messages: list[BusMessage] = []
    async with asyncio.timeout(5):
        while len(messages) < count:
            messages += await anext(reader)
    return messages


class BusSuite:
    """A backend's file gives the fixture `bus`."""

    async def test_every_tail_gets_what_is_published_after_it_was_asked_for(self, bus: Bus) -> None:
        await bus.publish("log", 0, entries(1, 2))
        async with aclosing(bus.tail("log")) as one, aclosing(bus.tail("log")) as two:
            await bus.publish("log", 0, entries(3, 4))
            await bus.publish("log", 0, entries(5, 5))
            assert await taken(one, 3) == entries(3, 5)
            assert await taken(two, 3) == entries(3, 5)

    async def test_channels_are_apart(self, bus: Bus) -> None:
        async with aclosing(bus.tail("changes")) as reader:
            await bus.publish("log", 0, entries(1, 1))
            await bus.publish("changes", 0, entries(2, 2))
            assert await taken(reader, 1) == entries(2, 2)

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
        assert await asyncio.wait_for(waiting, 5) == []
        await reader.aclose()

    async def test_a_group_gets_every_message_once_while_nobody_falls_over(self, bus: Bus) -> None:
        async with aclosing(bus.consume("events", "sequencer")) as reader:
            await bus.publish("events", 0, entries(1, 3))
            await bus.publish("events", 0, entries(4, 4))
            assert await taken(reader, 4) == entries(1, 4)

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
            await taken(reader, 2)
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
        assert await asyncio.wait_for(waiting, 5) == []


async def _all(reader: BusReader) -> list[Sequence[BusMessage]]:
    return [batch async for batch in reader]
