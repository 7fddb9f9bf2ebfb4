"""An event loop on virtual time; promise: nothing waits, and the same run is the same each time.

When nothing is ready the clock jumps to the next timer. There are no sockets, threads or signals.
"""

import asyncio
import contextvars
import gc
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

_Result = TypeVar("_Result")

Tasks = list[asyncio.Task[Any]]

OWNER: contextvars.ContextVar[Tasks | None] = contextvars.ContextVar("owner", default=None)
"""Where new tasks are noted: those of the process in whose name something runs."""


TURN_SECONDS = 1e-6
"""How long one turn of the loop takes, so that whoever looks again and again sees time pass."""


TURNS_MAX = 20_000
"""How many turns a run takes at most; usual are 1,200."""


class RunawayError(Exception):
    """A run took too many turns: something goes on for ever."""


class StandstillError(Exception):
    """Nothing is ready and no timer is set: the simulation would wait for ever."""


class _Selector:
    """Stands for the selector of a loop: it has no files, and lets time pass."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop
        self.turns = 0

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise StandstillError("nothing is ready and no timer is set")
        self.turns += 1
        if self.turns > TURNS_MAX:
            self.turns = 0
            raise RunawayError(f"{TURNS_MAX} turns were not enough")
        self._loop.pass_time(max(timeout, TURN_SECONDS))
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop whose time moves only when nothing is ready."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = _Selector(self)
        self._clock_resolution = 1e-6
        self.set_task_factory(_owned_task)

    def time(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        self._now += seconds

    def _process_events(self, events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Wakes nobody: no other thread uses this loop."""


def _owned_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any
) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, **named)
    context = named.get("context")
    owner = OWNER.get() if context is None else context.get(OWNER)
    if owner is not None:
        owner.append(task)
    return task


def run_virtually(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Runs a coroutine to its end on a new loop; what it leaves behind is cancelled."""
    loop = VirtualLoop()
    # A run is short, and collecting garbage is a fifth of it.
    gc.disable()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(work)
    finally:
        for _ in range(10):
            left = asyncio.all_tasks(loop)
            if not left:
                break
            for task in left:
                task.cancel()
            with suppress(StandstillError, RunawayError):
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
        gc.enable()
