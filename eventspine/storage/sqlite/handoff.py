"""Hands work from the event loop to a thread and results back; promise: one wake-up a burst.

All that one turn of the loop submits goes over together, and the thread takes all that waits at
once: a busy thread makes bigger groups, not longer queues. Each group of results comes back with
one wake-up of the loop. Callers bound how much they have in flight; nothing here does.

A job that is alone while the thread rests would wait longer for two wake-ups than for the work, so
it is done on the loop itself, as long as jobs of its kind have been quick on this disk. So are a
few that were submitted together, where the owner says so.
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
"""How long a job may hold up the loop. One that took longer sends its kind to the thread."""

QUICK_JOBS = 20
"""How many jobs in a row must have been quick in the thread before one is done on the loop."""

HERE_JOBS = 250
"""After how many jobs on the loop one goes to the thread, which does what a job there leaves."""


class Job(NamedTuple):
    """An item that waits for its result."""

    work: Work
    item: Any
    future: "asyncio.Future[Any]"


class _Pace:
    """How quick the lone jobs of one kind have been, and so where the next one is done.

    A few that are done together count as one.
    """

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._quick = 0

    def on_loop(self) -> bool:
        """Tells whether the next lone job may be done on the loop."""
        return self._quick >= QUICK_JOBS

    def took(self, seconds: float) -> None:
        """Notes how long a lone job took, on the loop or in the thread."""
        if seconds > self._seconds_max:
            self._quick = 0
        elif self._quick < QUICK_JOBS + HERE_JOBS:
            self._quick += 1
        else:
            # This one was the last on the loop for now; the next one goes to the thread.
            self._quick = QUICK_JOBS - 1


class Handoff:
    """One thread, and the way there and back. To be made and used on the event loop.

    Attributes:
        on_loop: Whether the work that runs now runs on the loop. Only for that work itself.
    """

    def __init__(
        self, name: str, *, here_seconds_max: float = HERE_SECONDS_MAX, lone_jobs_max: int = 1
    ) -> None:
        """Starts the thread.

        Args:
            name: What the thread is called.
            here_seconds_max: How long a job may hold up the loop.
            lone_jobs_max: How many jobs of one kind, submitted in one turn of the loop while the
                thread rests, are still done on the loop.
        """
        self._loop = asyncio.get_running_loop()
        self._pending: list[Job] = []
        self._queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._closed = False
        self._under_way = 0
        self._here_seconds_max = here_seconds_max
        self._lone_jobs_max = lone_jobs_max
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
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(Job(work, item, future))
        return future

    async def close(self) -> None:
        """Ends the thread, after all that was submitted is done. Calling it again is harmless."""
        if not self._closed:
            self._closed = True
            self._flush()
            self._queue.put(None)
        await asyncio.shield(self._ended)

    def _flush(self) -> None:
        jobs, self._pending = self._pending, []
        if self._are_alone(jobs) and not self._under_way and not self._closed:
            # The thread has delivered all it had, so it touches nothing until it gets more.
            pace = self._pace(jobs[0].work)
            if pace.on_loop():
                self._do_here(jobs, pace)
                return
        if jobs:
            self._under_way += len(jobs)
            self._queue.put(jobs)

    def _are_alone(self, jobs: list[Job]) -> bool:
        return 0 < len(jobs) <= self._lone_jobs_max and all(
            job.work == jobs[0].work for job in jobs
        )

    def _pace(self, work: Work) -> _Pace:
        pace = self._paces.get(work)
        if pace is None:
            pace = self._paces[work] = _Pace(self._here_seconds_max)
        return pace

    def _do_here(self, jobs: list[Job], pace: _Pace) -> None:
        self.on_loop = True
        began = time.perf_counter()
        results = _results(jobs[0].work, [job.item for job in jobs])
        pace.took(time.perf_counter() - began)
        self.on_loop = False
        _deliver(jobs, results)

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
        if len(jobs) <= self._lone_jobs_max:
            self._pace(jobs[0].work).took(seconds)
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
