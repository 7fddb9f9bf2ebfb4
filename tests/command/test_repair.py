"""Beside step 4: what a process stored and did not publish is published by another one."""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from command_svc.hints import Hints, Window
from command_svc.publish import Publisher
from command_svc.repair import Repair
from command_svc.settings import CommandSettings
from eventspine.storage.connect import Backend, open_memory
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.memory.hints import MemoryHintStore
from eventspine.storage.records import GENESIS, Append, CommandRow, HintWriter, NewRecord, Outcome
from processor_svc.sequence import Sequencer
from tests.command.bank_service import BankService, deposit, opening
from tests.faults.lossy_bus import LossyBus
from tests.storage.until import settled, until

PARTITIONS = 3
SETTINGS = CommandSettings(
    hint_tick_seconds=0.0, hint_window_seconds=2.0, beat_seconds=1.0, dead_seconds=5.0
)
QUICK = CommandSettings(
    hint_tick_seconds=0.001,
    hint_window_seconds=0.1,
    beat_seconds=0.05,
    dead_seconds=1.0,
    late_seconds=0.5,
)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class World:
    """A store with a sequencer, a process that dies, and one that repairs.

    Attributes:
        dying: The hints of the process that dies.
        repair: The repair of the other one.
    """

    def __init__(self) -> None:
        self.bus = LossyBus(partitions=PARTITIONS)
        self.backend = replace(open_memory(partitions=PARTITIONS), bus=self.bus)
        self.clock = Clock()
        assert self.backend.hints is not None
        self.store = self.backend.hints
        self.dying = Hints(self.store, SETTINGS)
        self.living = Hints(self.store, SETTINGS)
        self.repair = Repair(self.backend, self.living, SETTINGS, now=self.clock)
        self.sequencer = Sequencer(self.backend.events, self.backend.log, self.bus)

    async def hint(self, *appends: Append) -> Window:
        """The dying process hints at appends; the hints are written."""
        window = self.dying.begin(appends)
        assert window is not None
        for number, streams in self.dying._ticks.items():
            await self.store.note(self.dying.name, number, [*streams])
        self.dying._ticks.clear()
        return window

    async def look_after(self, seconds: float) -> None:
        """Lets the repairer look once, so much later."""
        self.clock.seconds += seconds
        await self.repair.look()

    async def found_dead(self) -> None:
        """Lets the repairer find out that the process is dead."""
        await self.repair.look()
        await self.look_after(SETTINGS.dead_seconds)
        assert self.repair.taken_over == 1

    async def versions(self, *streams: str) -> list[int]:
        """Returns what the log has of streams, once nothing is on its way."""
        await settled(200)
        return await self.backend.log.versions(streams)


@pytest.fixture
async def world() -> World:
    return World()


@asynccontextmanager
async def sequencing(world: World):  # type: ignore[no-untyped-def]
    await world.sequencer.start()
    yield
    await world.sequencer.stop()


def append(stream: str, first: int = 1, count: int = 1) -> Append:
    versions = range(first, first + count)
    records = tuple(NewRecord(version, "bank.v1.X", b"x") for version in versions)
    row = CommandRow(f"{stream}{first}", b"d" * 32, versions[-1], count, 0)
    return Append(stream, first - 1, records, (row,), GENESIS)


async def test_what_a_dead_process_stored_is_published_marked(world: World) -> None:
    async with sequencing(world):
        await world.dying.beat()
        await world.hint(append("account/a", count=3), append("account/b"))
        await world.backend.events.append([append("account/a", count=3)])

        await world.found_dead()

        assert await world.versions("account/a", "account/b") == [3, 0]
        assert [(e.stream, e.stream_version, e.republished) for e in world.bus.passed] == [
            ("account/a", version, True) for version in (1, 2, 3)
        ]
        assert world.repair.republished == 3


async def test_a_process_whose_beat_moves_is_left_alone(world: World) -> None:
    await world.hint(append("account/a"))
    await world.backend.events.append([append("account/a")])
    for _ in range(10):
        await world.dying.beat()
        await world.look_after(SETTINGS.dead_seconds - 0.1)
    assert (world.repair.taken_over, world.bus.passed) == (0, [])


async def test_an_append_that_is_stored_late_is_found_by_a_later_look(world: World) -> None:
    async with sequencing(world):
        await world.dying.beat()
        await world.hint(append("account/a"))
        await world.found_dead()
        assert await world.versions("account/a") == [0]

        await world.look_after(SETTINGS.late_seconds - 1)
        await world.backend.events.append([append("account/a")])
        await world.look_after(8)

        assert await world.versions("account/a") == [1]


async def test_windows_are_dropped_only_when_no_late_append_can_come(world: World) -> None:
    async with sequencing(world):
        await world.dying.beat()
        await world.hint(append("account/a"))
        await world.backend.events.append([append("account/a")])
        await world.found_dead()
        await settled(200)

        await world.look_after(SETTINGS.late_seconds - 0.5)
        assert await world.store.streams(world.dying.name, 1) == ["account/a"]
        await world.look_after(8.5)

        assert await world.store.streams(world.dying.name, 1) == []
        assert await world.store.writers() == []


async def test_windows_stay_for_as_long_as_the_log_lacks_something(world: World) -> None:
    """Nobody sequences, so that nothing comes into the log."""
    await world.dying.beat()
    await world.hint(append("account/a"))
    await world.backend.events.append([append("account/a")])
    await world.found_dead()
    for _ in range(10):
        await world.look_after(SETTINGS.late_seconds)
    assert await world.store.streams(world.dying.name, 1) == ["account/a"]
    assert [writer.name for writer in await world.store.writers()] == [world.dying.name]


async def test_a_process_that_only_paused_keeps_its_windows(world: World) -> None:
    await world.dying.beat()
    await world.hint(append("account/a"))
    await world.found_dead()
    await world.dying.beat()
    await world.look_after(SETTINGS.late_seconds + SETTINGS.dead_seconds - 0.1)
    assert await world.store.streams(world.dying.name, 1) == ["account/a"]
    assert len(await world.store.writers()) == 1


async def test_every_window_of_a_dead_process_is_looked_at(world: World) -> None:
    """Also the one that was begun since its last beat."""
    async with sequencing(world):
        for name in ("a", "b", "c"):
            await world.hint(append(f"account/{name}"))
            await world.backend.events.append([append(f"account/{name}")])
            if name != "c":
                await world.dying.beat()
                await world.dying.beat()
        (writer,) = await world.store.writers()
        assert writer == HintWriter(world.dying.name, 4, 1, 2)
        assert await world.store.streams(world.dying.name, 3) == ["account/c"]

        await world.found_dead()

        assert await world.versions("account/a", "account/b", "account/c") == [1, 1, 1]


async def test_a_window_is_dropped_once_all_of_it_is_on_the_bus(world: World) -> None:
    first, second = append("account/a", count=2), append("account/b")
    window = await world.hint(first, second)
    publisher = Publisher(world.bus)
    publisher.start(PARTITIONS)
    publisher.put(first, None, window)
    await settled(50)
    await world.dying.beat()
    await world.dying.beat()
    await world.dying.beat()
    assert set(await world.store.streams(world.dying.name, 1)) == {"account/a", "account/b"}

    publisher.put(second, None, window)
    await settled(50)
    await world.dying.beat()

    assert await world.store.streams(world.dying.name, 1) == []
    await publisher.stop()


async def test_an_append_that_stored_nothing_keeps_no_window_open(world: World) -> None:
    refused = append("account/a", count=2)
    (await world.hint(refused)).not_stored(refused)
    await world.dying.beat()
    await world.dying.beat()
    assert await world.store.streams(world.dying.name, 1) == []


async def test_what_the_publisher_leaves_out_is_published_by_its_own_process(world: World) -> None:
    async with sequencing(world):
        appends = [append(f"account/{number}") for number in range(30)]
        await world.backend.events.append(appends)
        window = world.living.begin(appends)
        publisher = Publisher(world.bus, entries_max=10)
        for one in appends:
            publisher.put(one, None, window)
        assert publisher.left_out == 20
        publisher.start(PARTITIONS)
        await settled(200)
        world.living._ticks.clear()
        await world.living.beat()
        await world.living.beat()

        await world.repair.look()

        streams = [one.stream for one in appends]
        assert await world.versions(*streams) == [1] * 30
        assert world.repair.republished == 20
        await world.repair.look()
        await world.living.beat()
        (writer,) = await world.store.writers()
        await world.living.beat()
        (writer,) = await world.store.writers()
        assert writer.first_window == writer.last_window
        await publisher.stop()


async def test_a_hint_that_is_not_written_stops_no_command() -> None:
    class Unwritable(MemoryHintStore):
        async def note(self, writer: str, window: int, streams: object) -> None:
            raise StoreUnavailableError("down", cause="test")

        async def beat(self, writer: HintWriter) -> None:
            raise OutcomeUnknownError("perhaps")

    backend = replace(open_memory(), hints=Unwritable())
    bank = BankService(backend, QUICK)
    await bank.service.start()
    assert (await bank.call(opening("a"))).last_version == 1
    await until(lambda: bank.service._hints.failed > 0)
    await bank.service.stop()
    figures = {figure.name: figure.samples for figure in bank.service.figures()}
    assert figures["eventspine_hints_failed_total"][()] >= 1


async def test_a_process_that_ends_in_order_leaves_nothing_behind() -> None:
    backend = open_memory()
    bank = BankService(backend, QUICK)
    await bank.service.start()
    await bank.call(opening("a"))
    await bank.service.stop()
    assert backend.hints is not None
    assert await backend.hints.writers() == []
    assert backend.hints._windows == {}  # type: ignore[attr-defined]


class DeafBus(LossyBus):
    """A bus that takes nothing and does not say so while `deaf` is set."""

    deaf = True

    async def publish(self, channel: str, partition: int, messages: Sequence[object]) -> None:
        if self.deaf:
            await asyncio.Event().wait()
        await super().publish(channel, partition, messages)  # type: ignore[arg-type]


async def killed(backend: Backend, *commands: object) -> None:
    """Runs a command service that answers commands and dies before it publishes anything."""
    others = asyncio.all_tasks()
    bank = BankService(backend, QUICK)
    await bank.service.start()
    for command in commands:
        await bank.call(command)  # type: ignore[arg-type]
    hints = bank.service._hints
    await until(lambda: not hints._ticks and not hints._writing, seconds=60)
    tasks = asyncio.all_tasks() - others
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_a_killed_service_answered_is_in_the_log_soon() -> None:
    bus = DeafBus(partitions=PARTITIONS)
    backend = replace(open_memory(partitions=PARTITIONS), bus=bus)
    await killed(backend, opening("a"), deposit("a"), opening("b"))
    bus.deaf = False
    sequencer = Sequencer(backend.events, backend.log, bus)
    await sequencer.start()
    assert await backend.log.versions(["account/a", "account/b"]) == [0, 0]

    other = BankService(backend, QUICK)
    await other.service.start()
    async with asyncio.timeout(60):
        while await backend.log.versions(["account/a", "account/b"]) != [2, 1]:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
        assert backend.hints is not None
        while len(await backend.hints.writers()) > 1:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
    assert await backend.hints.streams(other.service._hints.name, 1) == []
    await other.service.stop()
    await sequencer.stop()
    assert backend.hints._windows == {}  # type: ignore[attr-defined]


async def test_a_late_append_of_a_killed_service_is_in_the_log_too() -> None:
    class Slow:
        """An event store that applies an append only when it is told to."""

        def __init__(self, backend: Backend) -> None:
            self.events = backend.events
            self.sent: list[Append] = []

        def __getattr__(self, name: str) -> object:
            return getattr(self.events, name)

        async def append(self, appends: Sequence[Append]) -> list[Outcome]:
            self.sent += appends
            await asyncio.Event().wait()
            raise AssertionError

    bus = LossyBus(partitions=PARTITIONS)
    backend = replace(open_memory(partitions=PARTITIONS), bus=bus)
    slow = Slow(backend)
    others = asyncio.all_tasks()
    bank = BankService(replace(backend, events=slow), QUICK)  # type: ignore[arg-type]
    await bank.service.start()
    call = asyncio.create_task(bank.call(opening("a")))
    await until(lambda: bool(slow.sent))
    hints = bank.service._hints
    await until(lambda: not hints._ticks and not hints._writing, seconds=60)
    tasks = (asyncio.all_tasks() - others) | {call}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    sequencer = Sequencer(backend.events, backend.log, bus)
    await sequencer.start()
    other = BankService(backend, replace(QUICK, late_seconds=30))
    await other.service.start()
    await until(lambda: other.service._repair.taken_over == 1, seconds=60)
    await backend.events.append(slow.sent)
    async with asyncio.timeout(60):
        while await backend.log.versions(["account/a"]) != [1]:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)
    await other.service.stop()
    await sequencer.stop()
