"""Where work of a store file is done: in its thread, or on the loop when it is alone and quick."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from eventspine.storage.sqlite.handoff import HERE_JOBS, PACE_JOBS, Handoff

FOREVER = 3_600.0
"""No job takes that long, also on a machine that is busy with other things."""


def threads_of(items: list[Any]) -> Sequence[Any]:
    return [threading.get_ident()] * len(items)


def sleeping_threads_of(seconds: list[float]) -> Sequence[Any]:
    time.sleep(sum(seconds))
    return threads_of(seconds)


async def alone(handoff: Handoff, count: int) -> list[int]:
    return [await handoff.submit(threads_of, None) for _ in range(count)]


async def test_a_lone_job_is_done_on_the_loop_once_its_kind_was_quick_for_long() -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER)
    first = await alone(handoff, PACE_JOBS)
    then = await alone(handoff, HERE_JOBS)
    await handoff.close()
    assert threading.get_ident() not in first
    assert set(then) == {threading.get_ident()}


async def test_now_and_then_a_lone_job_goes_to_the_thread_all_the_same() -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER)
    await alone(handoff, PACE_JOBS)
    done = await alone(handoff, 3 * HERE_JOBS)
    await handoff.close()
    in_thread = [place for place, thread in enumerate(done) if thread != threading.get_ident()]
    assert len(in_thread) == 2


async def test_one_slow_job_among_quick_ones_changes_nothing() -> None:
    # The slow one takes a good deal longer than a job may on average.
    handoff = Handoff("test", here_seconds_max=0.05)
    for _ in range(PACE_JOBS):
        await handoff.submit(sleeping_threads_of, 0)
    done = [await handoff.submit(sleeping_threads_of, seconds) for seconds in (0, 0.2, 0, 0)]
    await handoff.close()
    assert set(done) == {threading.get_ident()}


async def test_jobs_that_become_slow_go_to_the_thread_until_they_are_quick_again() -> None:
    handoff = Handoff("test", here_seconds_max=0.01)
    for seconds in (0.0,) * PACE_JOBS + (0.04,) * PACE_JOBS:
        last = await handoff.submit(sleeping_threads_of, seconds)
    assert last != threading.get_ident()
    for _ in range(3 * PACE_JOBS):
        last = await handoff.submit(sleeping_threads_of, 0)
    await handoff.close()
    assert last == threading.get_ident()


async def test_a_kind_of_job_that_is_slow_stays_in_the_thread() -> None:
    handoff = Handoff("test", here_seconds_max=0.0)
    done = await alone(handoff, 2 * PACE_JOBS)
    await handoff.close()
    assert threading.get_ident() not in done


async def test_the_first_job_of_a_turn_is_done_at_once_and_the_others_go_over_together() -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER)
    await alone(handoff, PACE_JOBS)
    jobs = [handoff.submit(threads_of, None) for _ in range(3)]
    assert [job.done() for job in jobs] == [True, False, False]
    first, second, third = await asyncio.gather(*jobs)
    await handoff.close()
    assert first == threading.get_ident()
    assert second == third != first


async def test_whoever_submits_one_job_after_the_other_lets_others_run() -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER)
    await alone(handoff, PACE_JOBS)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    done = await alone(handoff, 20)
    beside.cancel()
    await handoff.close()
    assert set(done) == {threading.get_ident()}
    assert turns >= 10


async def test_two_jobs_of_different_kinds_get_their_own_results_in_the_thread() -> None:
    def names_of(items: list[Any]) -> Sequence[Any]:
        return [f"{item} {threading.get_ident()}" for item in items]

    handoff = Handoff("test", here_seconds_max=FOREVER)
    thread, name = await asyncio.gather(
        handoff.submit(threads_of, None), handoff.submit(names_of, "a")
    )
    await handoff.close()
    assert thread != threading.get_ident()
    assert name == f"a {thread}"


async def test_jobs_that_always_come_in_twos_are_found_to_be_quick_all_the_same() -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER)
    for _ in range(PACE_JOBS):
        await asyncio.gather(*(handoff.submit(threads_of, None) for _ in range(2)))
    done = await asyncio.gather(*(handoff.submit(threads_of, None) for _ in range(2)))
    await handoff.close()
    assert set(done) == {threading.get_ident()}


async def test_a_job_never_overtakes_one_that_the_thread_still_has() -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER)
    await alone(handoff, PACE_JOBS)
    begun, order = threading.Event(), []

    def held(items: list[Any]) -> Sequence[Any]:
        begun.wait(60)
        order.append("held")
        return items

    def quick(items: list[Any]) -> Sequence[Any]:
        order.append("quick")
        return threads_of(items)

    first = handoff.submit(held, None)
    await asyncio.sleep(0)
    second = handoff.submit(quick, None)
    await asyncio.sleep(0)
    begun.set()
    await asyncio.gather(first, second)
    await handoff.close()
    assert order == ["held", "quick"]


async def test_a_job_that_fails_on_the_loop_fails_for_its_caller_only() -> None:
    def fails(items: list[Any]) -> Sequence[Any]:
        if items[0] == "bad":
            raise LookupError("not this one")
        return threads_of(items)

    handoff = Handoff("test", here_seconds_max=FOREVER)
    for _ in range(PACE_JOBS):
        await handoff.submit(fails, "good")
    with pytest.raises(LookupError, match="not this one"):
        await handoff.submit(fails, "bad")
    assert await handoff.submit(fails, "good") == threading.get_ident()
    await handoff.close()
