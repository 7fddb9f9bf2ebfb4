"""The bus inside of one process: the suite, and what bounds its memory."""

import asyncio
import gc
from contextlib import aclosing

import pytest

from eventspine.storage.bus import LocalBus
from tests.storage.bus_suite import BusSuite, entries, entry, taken
from tests.storage.until import settled


class TestLocalBus(BusSuite):
    @pytest.fixture
    def bus(self) -> LocalBus:
        return LocalBus(partitions=2)


async def test_a_tail_that_is_too_slow_is_told_so_and_goes_on() -> None:
    bus = LocalBus(tail_messages_max=10)
    async with aclosing(bus.tail("log")) as slow:
        await bus.publish("log", 0, entries(1, 8))
        await bus.publish("log", 0, entries(9, 14))
        await bus.publish("log", 0, entries(15, 16))
        assert await anext(slow) == ()
        assert await anext(slow) == entries(15, 16)
        await bus.publish("log", 0, entries(17, 17))
        assert await anext(slow) == entries(17, 17)


async def test_a_tail_that_never_reads_holds_a_bounded_number_of_messages() -> None:
    bus = LocalBus(tail_messages_max=10)
    async with aclosing(bus.tail("log")):
        payloads = []
        for sequence in range(1, 1001):
            message = entry(sequence, payload=bytes(sequence))
            payloads.append(message.encoded)
            await bus.publish("log", 0, [message])
        held = {id(p) for p in payloads} & {
            id(found.encoded) for found in gc.get_objects() if type(found) is type(message)
        }
        assert len(held) <= 11


async def test_a_slow_tail_does_not_hold_up_a_quick_one() -> None:
    bus = LocalBus(tail_messages_max=10)
    async with aclosing(bus.tail("log")), aclosing(bus.tail("log")) as quick:
        for sequence in range(1, 101):
            await bus.publish("log", 0, [entry(sequence)])
            assert await anext(quick) == [entry(sequence)]


async def test_a_tail_that_was_thrown_away_costs_nothing_more() -> None:
    bus = LocalBus()
    for _ in range(1000):
        bus.tail("log")
    gc.collect()
    async with aclosing(bus.tail("log")) as reader:
        await bus.publish("log", 0, entries(1, 1))
        assert await taken(reader, 1) == entries(1, 1)
    assert len(bus._channels["log"].tails) == 0


async def test_publishers_wait_for_a_full_group_and_keep_their_order() -> None:
    bus = LocalBus(group_messages_max=10)
    async with aclosing(bus.consume("events", "sequencer")) as reader:
        await bus.publish("events", 0, entries(1, 10))
        waiting = [
            asyncio.create_task(bus.publish("events", 0, [entry(sequence)]))
            for sequence in range(11, 31)
        ]
        await settled()
        assert not any(task.done() for task in waiting)
        assert await taken(reader, 30) == entries(1, 30)
        await asyncio.gather(*waiting)


async def test_what_no_group_follows_is_published_now() -> None:
    bus = LocalBus()
    async with aclosing(bus.tail("log")) as tail:
        assert bus.publish_now("log", 0, entries(1, 2))
        assert await taken(tail, 2) == entries(1, 2)
        bus.consume("log", "sequencer")
        assert not bus.publish_now("log", 0, entries(3, 3))


async def test_a_publisher_that_gives_up_waiting_has_published_nothing() -> None:
    bus = LocalBus(group_messages_max=1)
    async with (
        aclosing(bus.consume("events", "sequencer")) as reader,
        aclosing(bus.tail("events")) as tail,
    ):
        await bus.publish("events", 0, entries(1, 1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bus.publish("events", 0, entries(2, 2)), 0.001)
        assert await taken(reader, 1) == entries(1, 1)
        await bus.publish("events", 0, entries(3, 3))
        assert await taken(reader, 1) == entries(3, 3)
        assert await taken(tail, 2) == [entry(1), entry(3)]


async def test_a_consumer_that_was_thrown_away_unclosed_leaves_its_batch() -> None:
    bus = LocalBus()
    reader = bus.consume("events", "sequencer")
    await bus.publish("events", 0, entries(1, 2))
    await anext(reader)
    del reader
    async with aclosing(bus.consume("events", "sequencer")) as following:
        assert await taken(following, 2) == entries(1, 2)


async def test_two_consumers_of_a_group_share_its_messages() -> None:
    bus = LocalBus()
    async with (
        aclosing(bus.consume("events", "sequencer")) as one,
        aclosing(bus.consume("events", "sequencer")) as two,
    ):
        steps = [asyncio.ensure_future(anext(reader)) for reader in (one, two)]
        await settled()
        await bus.publish("events", 0, entries(1, 1))
        done, left = await asyncio.wait(steps, timeout=5, return_when="FIRST_COMPLETED")
        assert [step.result() for step in done] == [entries(1, 1)]
        await bus.publish("events", 0, entries(2, 2))
        assert [await asyncio.wait_for(step, 5) for step in left] == [entries(2, 2)]
