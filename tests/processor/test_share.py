"""Step 6 in two processes: each folds its own partitions, and any of them operates all builds."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from eventspine.rpc.errors import ViewStateError
from eventspine.storage.connect import Backend, open_memory
from eventspine.storage.errors import BusUnavailableError
from eventspine.storage.progress import build_id
from eventspine.storage.records import ViewBatch
from eventspine.v1 import admin_pb2 as pb
from tests.processor.platform import CALL, Platform, eventually
from tests.processor.views import BALANCE, TOTALS

PARTITIONS = 4
LOOK_SECONDS = 0.05
NAMES = [f"a{place}" for place in range(16)]
POISON = 666


class GivenShare:
    """A share of partitions that a test gives and takes."""

    def __init__(self) -> None:
        self._owned: frozenset[int] | None = None
        self._given = asyncio.Event()
        self._closed = False

    def give(self, owned: frozenset[int]) -> None:
        self._owned = owned
        self._given.set()

    def __aiter__(self) -> "GivenShare":
        return self

    async def __anext__(self) -> frozenset[int]:
        await self._given.wait()
        self._given.clear()
        if self._closed or self._owned is None:
            raise StopAsyncIteration
        return self._owned

    async def aclose(self) -> None:
        self._closed = True
        self._given.set()


class ProcessBus:
    """One process's side of a bus that several processes have."""

    def __init__(self, bus: Any) -> None:
        self._bus = bus
        self.share = GivenShare()
        self.down = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def publish(self, channel: str, partition: int, messages: Sequence[Any]) -> None:
        if self.down:
            raise BusUnavailableError("the bus is down", cause="test")
        await self._bus.publish(channel, partition, messages)

    def shares(self, group: str) -> GivenShare:
        return self.share


class ProcessViews:
    """One process's side of a view store: it notes what the process saved."""

    def __init__(self, views: Any) -> None:
        self._views = views
        self.saved: set[int] = set()
        self.before_list: Callable[[], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._views, name)

    async def save(self, batches: Sequence[ViewBatch]) -> None:
        await self._views.save(batches)
        self.saved |= {batch.partition for batch in batches}

    async def list(self, build: str, **options: Any) -> Any:
        if self.before_list is not None:
            waited, self.before_list = self.before_list, None
            await waited()
        return await self._views.list(build, **options)


class Process(Platform):
    """A processor that shares one store with another."""

    def __init__(self, backend: Backend, *, look_seconds: float = LOOK_SECONDS) -> None:
        self.bus = ProcessBus(backend.bus)
        self.views = ProcessViews(backend.views)
        own = replace(backend, bus=self.bus, views=self.views)
        super().__init__(own, look_seconds=look_seconds)

    def owns(self, *partitions: int) -> None:
        self.bus.share.give(frozenset(partitions))


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Process, Process]]:
    """Two processes, each with half of the partitions."""
    backend = open_memory(partitions=PARTITIONS)
    one, two = Process(backend), Process(backend)
    for process in (one, two):
        await process.start()
    one.owns(0, 1)
    two.owns(2, 3)
    yield one, two
    for process in (one, two):
        await process.stop()


async def deposited(process: Process, amount: int) -> None:
    """Puts money into every account, so that every partition has events."""
    for name in NAMES:
        await process.deposit(name, amount)
    await process.projected()


async def balances(process: Process, number: int = 1) -> set[int | None]:
    return {await process.balance(name, number) for name in NAMES}


async def test_each_process_folds_its_own_partitions_and_no_other(
    pair: tuple[Process, Process],
) -> None:
    one, two = pair
    await deposited(one, 5)
    await one.projected(TOTALS)
    assert await balances(two) == {5}
    assert (await two.row("bank", view=TOTALS)).deposited_cents == 5 * len(NAMES)
    assert (one.views.saved, two.views.saved) == ({0, 1}, {2, 3})


async def test_what_nobody_owns_waits_and_is_folded_by_who_gets_it(
    pair: tuple[Process, Process],
) -> None:
    one, two = pair
    await deposited(one, 1)
    one.owns()
    for name in NAMES:
        await one.deposit(name, 10)
    two.owns(0, 1, 2, 3)
    await two.projected()
    assert await balances(two) == {11}
    one.views.saved.clear()
    two.owns(2, 3)
    one.owns(0, 1)
    await deposited(one, 100)
    assert await balances(two) == {111}
    assert one.views.saved == {0, 1}


async def test_two_processes_that_both_believe_to_own_a_partition_count_nothing_twice(
    pair: tuple[Process, Process],
) -> None:
    one, two = pair
    one.owns(0, 1, 2, 3)
    two.owns(0, 1, 2, 3)
    for _ in range(5):
        await deposited(one, 1)
    assert await balances(two) == {5}


async def test_a_build_begun_in_one_process_is_folded_by_all_and_ready_when_all_have_caught_up(
    pair: tuple[Process, Process],
) -> None:
    one, two = pair
    await deposited(one, 5)
    two.owns()
    await one.admin.build_view(pb.BuildViewRequest(view=BALANCE), CALL)
    await eventually(lambda: _passed(one, 2, {0, 1}))
    await asyncio.sleep(3 * LOOK_SECONDS)
    (_, build) = (await one.backend.registry.builds(BALANCE)).builds
    assert build.state == "building"
    two.owns(2, 3)
    await one.state(2, "ready")
    assert await balances(two, 2) == {5}


async def test_a_pause_in_one_process_is_kept_by_the_other_and_so_is_going_on(
    pair: tuple[Process, Process],
) -> None:
    one, two = pair
    await deposited(one, 5)
    await one.admin.pause_view(pb.PauseViewRequest(view=BALANCE), CALL)
    await asyncio.sleep(3 * LOOK_SECONDS)
    for name in NAMES:
        await one.deposit(name, 1)
    await one.projected(TOTALS)
    assert await balances(one) == {5}
    await two.admin.resume_view(pb.ResumeViewRequest(view=BALANCE), CALL)
    await one.projected()
    assert await balances(one) == {6}


async def test_a_step_is_taken_though_the_bus_is_down_and_the_others_find_it(
    pair: tuple[Process, Process],
) -> None:
    one, two = pair
    await deposited(one, 5)
    one.bus.down = True
    request = pb.PauseViewRequest(view=BALANCE)
    assert (await one.admin.pause_view(request, CALL)).view.builds[0].paused
    await asyncio.sleep(3 * LOOK_SECONDS)
    one.bus.down = False
    for name in NAMES:
        await two.deposit(name, 1)
    await two.projected(TOTALS)
    assert await balances(two) == {5}


async def test_any_process_compares_builds_while_all_fold_and_both_go_on_afterwards(
    pair: tuple[Process, Process],
) -> None:
    one, two = pair
    await deposited(one, 5)
    await one.admin.build_view(pb.BuildViewRequest(view=BALANCE), CALL)
    await one.state(2, "ready")
    loading = asyncio.create_task(_load(one))
    answer = await two.admin.compare_view(pb.CompareViewRequest(view=BALANCE, build=2), CALL)
    assert (answer.same, answer.different) == (len(NAMES), 0)
    await loading
    await one.projected()
    await one.projected(number=2)
    assert await balances(one) == await balances(one, 2) == {15}
    builds = (await one.backend.registry.builds(BALANCE)).builds
    assert [build.paused for build in builds] == [False, False]


async def test_a_process_that_does_not_look_in_time_spoils_a_comparison_and_that_is_said() -> None:
    backend = open_memory(partitions=PARTITIONS)
    one, blind = Process(backend), Process(backend, look_seconds=1_000)
    for process in (one, blind):
        await process.start()
    one.owns(0, 1)
    blind.owns(2, 3)
    await deposited(one, 5)
    await one.admin.build_view(pb.BuildViewRequest(view=BALANCE), CALL)
    blind.owns()
    blind.owns(2, 3)
    await one.state(2, "ready")

    async def moved() -> None:
        before = sum(await backend.views.progress(build_id(BALANCE, 1)))
        for name in NAMES:
            await one.deposit(name, 1)

        async def on() -> bool:
            return sum(await backend.views.progress(build_id(BALANCE, 1))) > before

        await eventually(on)

    one.views.before_list = moved
    with pytest.raises(ViewStateError, match="meanwhile") as refused:
        await one.admin.compare_view(pb.CompareViewRequest(view=BALANCE, build=2), CALL)
    assert refused.value.metadata["state"] == "moved"
    for process in (one, blind):
        await process.stop()


async def test_a_key_that_one_process_parked_is_retried_by_the_other(
    pair: tuple[Process, Process],
) -> None:
    one, two = pair
    for process in pair:
        process.poison.amounts.add(POISON)
    await deposited(one, 5)
    for name in NAMES:
        await one.deposit(name, POISON)
    await one.projected()
    assert await balances(one) == {5}
    for process in pair:
        process.poison.amounts.clear()
    (first, *_) = (await one.admin.list_parked(pb.ListParkedRequest(view=BALANCE), CALL)).parked
    request = pb.RetryParkedRequest(view=BALANCE, key_json=first.key_json)
    assert (await two.admin.retry_parked(request, CALL)).released_keys == 1
    answer = await two.admin.retry_parked(pb.RetryParkedRequest(view=BALANCE), CALL)
    assert (answer.released_keys, answer.parked_keys) == (len(NAMES) - 1, 0)
    await deposited(one, 1)
    assert await balances(one) == {5 + POISON + 1}


async def test_a_retired_build_leaves_nothing_though_another_process_folds_it(
    pair: tuple[Process, Process],
) -> None:
    one, two = pair
    await deposited(one, 5)
    await one.admin.build_view(pb.BuildViewRequest(view=BALANCE), CALL)
    await one.state(2, "ready")
    loading = asyncio.create_task(_load(one))
    await one.admin.retire_view(pb.RetireViewRequest(view=BALANCE, build=2), CALL)
    await loading
    await two.projected()
    await asyncio.sleep(3 * LOOK_SECONDS)
    assert await one.rows(number=2) == []
    assert not any(await one.backend.views.progress(build_id(BALANCE, 2)))


async def _load(process: Process) -> None:
    for _ in range(10):
        for name in NAMES:
            await process.deposit(name, 1)


async def _passed(process: Process, number: int, partitions: set[int]) -> bool:
    progress = await process.backend.views.progress(build_id(BALANCE, number))
    ends = await process.backend.log.ends()
    return all(progress[one] >= ends[one] for one in partitions)
