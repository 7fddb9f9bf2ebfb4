"""Where work of a store file is done: in its thread, or on the loop when it is alone and quick."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from eventspine.storage.sqlite.handoff import HERE_JOBS, QUICK_JOBS, Handoff

FOREVER = 3_600.0
"""No job takes that long, also on a machine that is busy with other things."""


def threads_of(items: list[Any]) -> Sequence[Any]:
    return [threading.get_ident()] * len(items)


async def alone(handoff: Handoff, count: int) -> list[int]:
    return [await handoff.submit(threads_of, None) for _ in range(count)]


async def test_a_lone_job_is_done_on_the_loop_once_its_kind_was_quick_for_long() -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER)
    first = await alone(handoff, QUICK_JOBS)
    then = await alone(handoff, HERE_JOBS)
    await handoff.close()
    assert threading.get_ident() not in first
    assert set(then) == {threading.get_ident()}


async def test_now_and_then_a_lone_job_goes_to_the_thread_all_the_same() -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER)
    await alone(handoff, QUICK_JOBS)
    done = await alone(handoff, 3 * HERE_JOBS)
    await handoff.close()
    in_thread = [place for place, thread in enumerate(done) if thread != threading.get_ident()]
    assert len(in_thread) == 2


async def test_a_kind_of_job_that_is_slow_stays_in_the_thread() -> None:
    handoff = Handoff("test", here_seconds_max=0.0)
    done = await alone(handoff, 2 * QUICK_JOBS)
    await handoff.close()
    assert threading.get_ident() not in done


async def test_jobs_that_come_together_go_to_the_thread_together() -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER)
    await alone(handoff, QUICK_JOBS)
    done = await asyncio.gather(*(handoff.submit(threads_of, None) for _ in range(3)))
    await handoff.close()
    assert threading.get_ident() not in done


@pytest.mark.parametrize(("count", "on_loop"), [(2, True), (3, False)])
async def test_a_few_jobs_that_come_together_are_done_on_the_loop_where_that_is_said(
    count: int, on_loop: bool
) -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER, lone_jobs_max=2)
    await alone(handoff, QUICK_JOBS)
    done = await asyncio.gather(*(handoff.submit(threads_of, None) for _ in range(count)))
    await handoff.close()
    assert len(set(done)) == 1
    assert (threading.get_ident() in done) is on_loop


async def test_two_jobs_of_different_kinds_go_to_the_thread_and_get_their_own_results() -> None:
    def names_of(items: list[Any]) -> Sequence[Any]:
        return [f"{item} {threading.get_ident()}" for item in items]

    handoff = Handoff("test", here_seconds_max=FOREVER, lone_jobs_max=2)
    for _ in range(QUICK_JOBS):
        await asyncio.gather(handoff.submit(threads_of, None), handoff.submit(names_of, "a"))
    thread, name = await asyncio.gather(
        handoff.submit(threads_of, None), handoff.submit(names_of, "a")
    )
    await handoff.close()
    assert thread != threading.get_ident()
    assert name == f"a {thread}"


async def test_a_job_never_overtakes_one_that_the_thread_still_has() -> None:
    handoff = Handoff("test", here_seconds_max=FOREVER)
    await alone(handoff, QUICK_JOBS)
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
    for _ in range(QUICK_JOBS):
        await handoff.submit(fails, "good")
    with pytest.raises(LookupError, match="not this one"):
        await handoff.submit(fails, "bad")
    assert await handoff.submit(fails, "good") == threading.get_ident()
    await handoff.close()
