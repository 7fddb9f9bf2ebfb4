"""Hands work from the event loop to a thread and results back; promise: one wake-up a burst.

All that one turn of the loop submits goes over together, and the thread takes all that waits at
once: a busy thread makes bigger groups, not longer queues. Each group of results comes back with
one wake-up of the loop. Callers bound how much they have in flight; nothing here does.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from eventspine.storage.errors import StoreUnavailableError

Work = Callable[[list[Any]], Sequence[Any]]
"""Does all items that wait; returns for each its result, or the exception that it failed with."""


class Job(NamedTuple):
    """An item that waits for its result."""

    work: Work
    item: Any
    future: "asyncio.Future[Any]"


class Handoff:
    """One thread, and the way there and back. To be made and used on the event loop."""

    def __init__(self, name: str) -> None:
        """Starts the thread, which bears the name."""
        self._loop = asyncio.get_running_loop()
        self._pending: list[Job] = []
        self._queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._closed = False
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
        if self._pending:
            self._queue.put(self._pending)
            self._pending = []

    def _run(self) -> None:
        open_ended = True
        while open_ended:
            jobs, open_ended = self._take()
            groups: dict[Work, list[Job]] = {}
            for job in jobs:
                groups.setdefault(job.work, []).append(job)
            for work, group in groups.items():
                results = _results(work, [job.item for job in group])
                self._call(_deliver, group, results)
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
