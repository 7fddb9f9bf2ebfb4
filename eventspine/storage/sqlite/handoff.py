"""Hands work from the event loop to a thread and results back; promise: one wake-up a burst.

All that one turn of the loop submits goes over together, and the thread takes all that waits at
once: a busy thread makes bigger groups, not longer queues. Each group of results comes back with
one wake-up of the loop. Callers bound how much they have in flight; nothing here does.

A job that is alone while the thread rests would wait longer for two wake-ups than for the work, so
it is done on the loop itself, as long as jobs of its kind are quick on this disk: the first that a
turn submits at once, so that whoever awaits it goes on in the same turn; what the turn submits
after that gathers.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from eventspine.storage.errors import StoreUnavailableError

Work = Callable[[list[Any]], Sequence[Any]]
"""Does all items that wait; returns for each its result, or the exception that it failed with."""

HERE_SECONDS_MAX = 0.001
"""How long a job may hold up the loop on average. A kind that takes longer goes to the thread."""

PACE_JOBS = 20
"""Of about how many jobs the average is. A kind that has done fewer goes to the thread."""

HERE_JOBS = 250
"""After how many jobs on the loop one goes to the thread, which does what a job there leaves."""


class Job(NamedTuple):
    """An item that waits for its result."""

    work: Work
    item: Any
    future: "asyncio.Future[Any]"


class _Pace:
    """How quick the jobs of one kind have been of late, and so where the next lone one is done.

    An average, because any disk keeps a commit waiting now and then: a rule that sent all to the
    thread after each slow one had most of them there on a busy machine.
    """

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._seconds = 0.0
        self._jobs = 0
        self._here = 0

    def on_loop(self) -> bool:
        """Tells whether the next lone job may be done on the loop."""
        quick = self._jobs >= PACE_JOBS and self._seconds <= self._seconds_max
        return quick and self._here < HERE_JOBS

    def took(self, seconds: float, *, here: bool) -> None:
        """Notes how long a job took, and whether it was done on the loop."""
        self._jobs = min(self._jobs + 1, PACE_JOBS)
        self._seconds += (seconds - self._seconds) / self._jobs
        self._here = self._here + 1 if here else 0


class Handoff:
    """One thread, and the way there and back. To be made and used on the event loop.

    Attributes:
        on_loop: Whether the work that runs now runs on the loop. Only for that work itself.
    """

    def __init__(self, name: str, *, here_seconds_max: float = HERE_SECONDS_MAX) -> None:
        """Starts the thread.

        Args:
            name: What the thread is called.
            here_seconds_max: How long a job may hold up the loop on average.
        """
        self._loop = asyncio.get_running_loop()
        self._pending: list[Job] = []
        self._queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._closed = False
        self._done_this_turn = False
        self._under_way = 0
        self._here_seconds_max = here_seconds_max
        self._paces: dict[Work, _Pace] = {}
        self.on_loop = False
        self._ended = self._loop.create_future()
        # A daemon, so that a process that never closes the store can still end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work, item: Any) -> "asyncio.Future[Any]":
        """Gives an item to the thread; the future gets what `work` returns or fails with for it.

        Raises:
            StoreUnavailableError: The store is closed. Nothing was done.
        """
        if self._closed:
            raise StoreUnavailableError("the store is closed", cause="closed")
        future = self._loop.create_future()
        job = Job(work, item, future)
        if not self._done_this_turn and not self._pending and self._do_here([job]):
            # What else comes in this turn gathers, and whoever submits in a loop lets others run.
            self._done_this_turn = True
            self._loop.call_soon(self._next_turn)
            return future
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(job)
        return future

    async def close(self) -> None:
        """Ends the thread, after all that was submitted is done. Calling it again is harmless."""
        if not self._closed:
            self._closed = True
            self._flush()
            self._queue.put(None)
        await asyncio.shield(self._ended)

    def _next_turn(self) -> None:
        self._done_this_turn = False

    def _flush(self) -> None:
        jobs, self._pending = self._pending, []
        if jobs and not self._do_here(jobs):
            self._under_way += len(jobs)
            self._queue.put(jobs)

    def _do_here(self, jobs: list[Job]) -> bool:
        """Does a job that is alone on the loop; False where it belongs to the thread."""
        # A thread that has delivered all it had touches nothing until it gets more.
        if len(jobs) > 1 or self._under_way or self._closed:
            return False
        pace = self._pace(jobs[0].work)
        if not pace.on_loop():
            return False
        self.on_loop = True
        began = time.perf_counter()
        results = _results(jobs[0].work, [jobs[0].item])
        pace.took(time.perf_counter() - began, here=True)
        self.on_loop = False
        _deliver(jobs, results)
        return True

    def _pace(self, work: Work) -> _Pace:
        pace = self._paces.get(work)
        if pace is None:
            pace = self._paces[work] = _Pace(self._here_seconds_max)
        return pace

    def _run(self) -> None:
        open_ended = True
        while open_ended:
            jobs, open_ended = self._take()
            groups: dict[Work, list[Job]] = {}
            for job in jobs:
                groups.setdefault(job.work, []).append(job)
            for work, group in groups.items():
                began = time.perf_counter()
                results = _results(work, [job.item for job in group])
                self._call(self._done, group, results, time.perf_counter() - began)
        self._call(self._end)

    def _take(self) -> tuple[list[Job], bool]:
        """Waits for jobs and takes all there are; False when these were the last."""
        jobs: list[Job] = []
        batch = self._queue.get()
        while batch is not None:
            jobs += batch
            try:
                batch = self._queue.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop was closed before the store: nobody waits for a result any more.
            self._closed = True

    def _done(self, jobs: list[Job], results: Sequence[Any], seconds: float) -> None:
        self._under_way -= len(jobs)
        # Several in a short time say that one is quick; in a long time they say nothing of one.
        if len(jobs) == 1 or seconds <= self._here_seconds_max:
            self._pace(jobs[0].work).took(seconds, here=False)
        _deliver(jobs, results)

    def _end(self) -> None:
        self._thread.join()
        self._ended.set_result(None)


def _results(work: Work, items: list[Any]) -> Sequence[Any]:
    try:
        return work(items)
    # Whatever it is, those who wait must get it; the thread itself goes on.
    except Exception as error:
        return [error] * len(items)


def _deliver(jobs: list[Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        # A caller that was cancelled has cancelled its future; the work was done all the same.
        if job.future.done():
            continue
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)
