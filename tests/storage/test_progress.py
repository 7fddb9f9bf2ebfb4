"""How far builds have come, and which one serves, learnt from the bus."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from eventspine.storage.bus import LocalBus
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.memory.registry import MemoryViewRegistry
from eventspine.storage.memory.views import MemoryViewStore
from eventspine.storage.progress import ProgressBoard, ServingBuilds, build_id, serving
from eventspine.storage.records import (
    Build,
    Builds,
    BuildsChange,
    Parked,
    ProgressChange,
    ViewBatch,
)
from tests.storage.until import settled, until

VIEW = "bank.v1.AccountBalance"
BUILD = build_id(VIEW, 1)


class CountingViews(MemoryViewStore):
    """A store that counts how often progress was read, and can be down."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.unavailable = False

    async def progress(self, build_id: str) -> tuple[int, ...]:
        self.reads += 1
        if self.unavailable:
            raise StoreUnavailableError("the store is down", cause="test")
        await asyncio.sleep(0)
        return await super().progress(build_id)


class Around:
    """A store and a bus, and the board between them."""

    def __init__(self) -> None:
        self.views = CountingViews()
        self.bus = LocalBus(tail_messages_max=10)
        self.board = ProgressBoard(self.views, self.bus)
        self.through = 0

    async def save(self, through: int) -> None:
        """Moves the build on, and says nothing on the bus."""
        await self.views.save([ViewBatch(BUILD, 0, self.through, through, {}, {})])
        self.through = through

    async def tell(self, sequence: int, times: int = 1) -> None:
        await self.bus.publish("changes", 0, [ProgressChange(BUILD, 0, sequence)] * times)


@pytest.fixture
async def around() -> AsyncIterator[Around]:
    around = Around()
    await around.board.start()
    yield around
    await around.board.stop()


async def test_progress_from_before_the_first_question_is_read_once(around: Around) -> None:
    await around.save(7)
    assert await around.board.passed(BUILD, 0, 7, 5)
    assert await around.board.passed(BUILD, 0, 6, 0)
    assert await around.board.progress(BUILD) == (7,)
    assert around.views.reads == 1


async def test_what_was_told_before_the_first_question_is_known(around: Around) -> None:
    # The store is told later than those who follow.
    await around.tell(7)
    await settled()
    assert await around.board.progress(BUILD) == (7,)
    await around.save(9)
    assert await around.board.progress(BUILD) == (7,)


async def test_waiting_ends_with_the_change_and_asks_the_store_no_more(around: Around) -> None:
    waiting = [asyncio.create_task(around.board.passed(BUILD, 0, n, 5)) for n in (3, 1, 2)]
    await settled()
    await around.save(2)
    await around.tell(2)
    await until(lambda: waiting[1].done() and waiting[2].done())
    assert not waiting[0].done()
    await around.tell(3)
    assert await asyncio.gather(*waiting) == [True, True, True]
    assert around.views.reads == 1


async def test_waiting_for_a_place_that_is_not_reached_ends_with_the_time(around: Around) -> None:
    assert not await around.board.passed(BUILD, 0, 1, 0)
    assert not await around.board.passed(BUILD, 0, 1, 0.001)
    assert await around.board.progress(BUILD) == (0,)


async def test_a_change_that_comes_while_the_store_is_read_is_not_lost(around: Around) -> None:
    asking = asyncio.create_task(around.board.passed(BUILD, 0, 5, 5))
    await until(lambda: around.views.reads == 1)
    await around.tell(5)
    assert await asking


async def test_what_nobody_tells_any_more_is_read_after_a_while(around: Around) -> None:
    # Told before the board followed, and written to the store only after it had looked there.
    waiting = [asyncio.create_task(around.board.passed(BUILD, 0, n, 30)) for n in range(1, 101)]
    await settled()
    await around.save(100)
    assert await asyncio.gather(*waiting) == [True] * 100
    assert around.views.reads == 2


async def test_a_store_that_is_down_while_somebody_waits_is_asked_again(around: Around) -> None:
    waiting = asyncio.create_task(around.board.passed(BUILD, 0, 1, 30))
    await settled()
    around.views.unavailable = True
    await until(lambda: around.views.reads == 2)
    await around.save(1)
    around.views.unavailable = False
    assert await waiting


async def test_progress_never_goes_back(around: Around) -> None:
    await around.save(7)
    assert await around.board.passed(BUILD, 0, 7, 5)
    await around.tell(3)
    await settled()
    assert await around.board.progress(BUILD) == (7,)


async def test_changes_that_were_left_out_are_read_for_those_who_wait(around: Around) -> None:
    waiting = asyncio.create_task(around.board.passed(BUILD, 0, 9, 5))
    await settled()
    await around.save(9)
    await around.tell(1, times=11)
    assert await waiting
    assert around.views.reads == 2


async def test_changes_that_were_left_out_are_read_at_the_next_question(around: Around) -> None:
    assert not await around.board.passed(BUILD, 0, 9, 0)
    await around.save(9)
    await around.tell(1, times=11)
    await settled()
    assert around.views.reads == 1
    assert await around.board.passed(BUILD, 0, 9, 0)


async def test_a_thousand_questions_at_once_read_the_store_once(around: Around) -> None:
    waiting = [asyncio.create_task(around.board.passed(BUILD, 0, n, 5)) for n in range(1, 1001)]
    await settled()
    await around.tell(1000)
    assert all(await asyncio.gather(*waiting))
    assert around.views.reads == 1


async def test_who_asks_while_the_first_question_is_read_gets_what_is_read(around: Around) -> None:
    await around.save(7)
    board = around.board
    answers = await asyncio.gather(
        board.progress(BUILD), board.progress(BUILD), board.passed(BUILD, 0, 7, 0)
    )
    assert answers == [(7,), (7,), True]
    assert around.views.reads == 1


async def test_those_who_gave_up_are_forgotten(around: Around) -> None:
    for _ in range(100):
        assert not await around.board.passed(BUILD, 0, 10**9, 0.0001)
    cancelled = asyncio.create_task(around.board.passed(BUILD, 0, 10**9, 5))
    await settled()
    cancelled.cancel()
    await settled()
    assert not around.board._boards[BUILD].waited_for


async def test_a_store_that_is_down_is_said_to_those_who_ask_and_who_wait(around: Around) -> None:
    waiting = asyncio.create_task(around.board.passed(BUILD, 0, 9, 5))
    await settled()
    around.views.unavailable = True
    await around.tell(1, times=11)
    with pytest.raises(StoreUnavailableError):
        await waiting
    with pytest.raises(StoreUnavailableError):
        await around.board.progress(BUILD)
    around.views.unavailable = False
    await around.save(9)
    assert await around.board.passed(BUILD, 0, 9, 5)


async def test_a_board_that_does_not_follow_reads_at_every_question() -> None:
    around = Around()
    assert not await around.board.passed(BUILD, 0, 1, 0)
    await around.save(1)
    assert await around.board.passed(BUILD, 0, 1, 0)
    await around.board.start()
    assert await around.board.passed(BUILD, 0, 1, 0)
    await around.save(2)
    await around.tell(2)
    await settled()
    assert await around.board.progress(BUILD) == (2,)
    await around.board.stop()
    await around.save(3)
    assert await around.board.progress(BUILD) == (3,)


class CountingRegistry:
    """A registry that counts its look-ups and can answer late."""

    def __init__(self) -> None:
        self._inner = MemoryViewRegistry(MemoryViewStore())
        self.reads = 0
        self.answer = asyncio.Event()
        self.answer.set()

    async def views(self) -> list[str]:
        return await self._inner.views()

    async def builds(self, view: str) -> Builds:
        self.reads += 1
        builds = await self._inner.builds(view)
        await self.answer.wait()
        return builds

    async def put(self, view: str, revision: int, builds: Sequence[Build]) -> bool:
        return await self._inner.put(view, revision, builds)

    async def parked(self, build_id: str) -> list[Parked]:
        return await self._inner.parked(build_id)


FIRST = Build(number=1, code_version=1, state="serving", paused=False)
SECOND = Build(number=2, code_version=2, state="ready", paused=False)


@pytest.fixture
def registry() -> CountingRegistry:
    return CountingRegistry()


@pytest.fixture
def bus() -> LocalBus:
    return LocalBus(tail_messages_max=10)


@pytest.fixture
async def builds(registry: CountingRegistry, bus: LocalBus) -> AsyncIterator[ServingBuilds]:
    builds = ServingBuilds(registry, bus)
    await builds.start()
    yield builds
    await builds.stop()


async def switch(registry: CountingRegistry) -> None:
    switched = [FIRST._replace(state="standby"), SECOND._replace(state="serving")]
    assert await registry.put(VIEW, 1, switched)


async def test_the_serving_build_is_looked_up_once(
    registry: CountingRegistry, builds: ServingBuilds
) -> None:
    assert await registry.put(VIEW, 0, [FIRST, SECOND])
    assert await builds.serving(VIEW) == FIRST
    assert await builds.build_id(VIEW) == f"{VIEW}@1"
    assert await builds.build_id(VIEW, 2) == f"{VIEW}@2"
    assert await builds.build_id(VIEW, 3) is None
    assert registry.reads == 1
    assert await serving(registry, VIEW) == FIRST


async def test_an_unknown_view_has_none_and_is_looked_up_again(
    registry: CountingRegistry, builds: ServingBuilds
) -> None:
    assert await builds.serving(VIEW) is None
    assert await builds.build_id(VIEW) is None
    assert await registry.put(VIEW, 0, [FIRST])
    assert await builds.serving(VIEW) == FIRST


async def test_a_switch_is_seen_by_its_message(
    registry: CountingRegistry, builds: ServingBuilds, bus: LocalBus
) -> None:
    assert await registry.put(VIEW, 0, [FIRST, SECOND])
    assert await builds.build_id(VIEW) == f"{VIEW}@1"
    await switch(registry)
    await bus.publish("changes", 0, [BuildsChange("another"), BuildsChange(VIEW)])
    await settled()
    assert await builds.build_id(VIEW) == f"{VIEW}@2"


async def test_a_switch_whose_message_was_left_out_is_seen_too(
    registry: CountingRegistry, builds: ServingBuilds, bus: LocalBus
) -> None:
    assert await registry.put(VIEW, 0, [FIRST, SECOND])
    assert await builds.build_id(VIEW) == f"{VIEW}@1"
    await switch(registry)
    await bus.publish("changes", 0, [BuildsChange(VIEW), *[ProgressChange(BUILD, 0, 1)] * 10])
    await settled()
    assert await builds.build_id(VIEW) == f"{VIEW}@2"


async def test_a_switch_whose_message_was_lost_is_seen_after_a_while(
    registry: CountingRegistry, bus: LocalBus
) -> None:
    builds = ServingBuilds(registry, bus, remember_seconds=0.05)
    await builds.start()
    assert await registry.put(VIEW, 0, [FIRST, SECOND])
    assert await builds.build_id(VIEW) == f"{VIEW}@1"
    await switch(registry)
    async with asyncio.timeout(5):
        while await builds.build_id(VIEW) != f"{VIEW}@2":  # noqa: ASYNC110 # time alone brings it
            await asyncio.sleep(0.01)
    await builds.stop()


async def test_an_answer_from_before_a_switch_is_not_remembered(
    registry: CountingRegistry, builds: ServingBuilds, bus: LocalBus
) -> None:
    assert await registry.put(VIEW, 0, [FIRST, SECOND])
    registry.answer.clear()
    asking = asyncio.create_task(builds.serving(VIEW))
    await settled()
    await switch(registry)
    await bus.publish("changes", 0, [BuildsChange(VIEW)])
    await settled()
    registry.answer.set()
    assert await asking == FIRST
    assert await builds.build_id(VIEW) == f"{VIEW}@2"


async def test_nothing_is_remembered_while_it_does_not_follow(
    registry: CountingRegistry, bus: LocalBus
) -> None:
    builds = ServingBuilds(registry, bus)
    assert await registry.put(VIEW, 0, [FIRST, SECOND])
    assert await builds.build_id(VIEW) == f"{VIEW}@1"
    await switch(registry)
    assert await builds.build_id(VIEW) == f"{VIEW}@2"
