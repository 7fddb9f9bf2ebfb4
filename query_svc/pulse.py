"""One wake-up for all who wait on the log; promise: each is woken once a burst, none is missed.

Hundreds of subscriptions wait here. Each looks at the ends of the log first and waits only when
there is nothing for it; between looking and waiting nothing else runs, so no movement is missed.
"""

import asyncio

from eventspine.rpc.errors import ShuttingDownError
from eventspine.storage.tail import LogTail

_PATIENCE_SECONDS = 60.0
"""How long one look at the tail waits. Any number would do: it is looked at again."""


class Pulse:
    """Tells waiters that the end of a partition has moved."""

    def __init__(self, tail: LogTail) -> None:
        """Follows a tail that has been started."""
        self._tail = tail
        self._waiters: set[asyncio.Future[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False

    def start(self) -> None:
        """Begins to follow."""
        self._stopped = False
        self._tasks = [
            # The ends are taken here, since the tasks begin later and somebody may wait by then.
            asyncio.create_task(self._follow(partition, end), name=f"pulse of {partition}")
            for partition, end in enumerate(self._tail.ends)
        ]

    async def stop(self) -> None:
        """Ends following, and ends every wait with `ShuttingDownError`."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._fire()

    async def next(self, timeout_seconds: float) -> None:
        """Waits until the log moves, but not longer than the time given.

        Raises:
            ShuttingDownError: The process is stopping.
        """
        self.check()
        if timeout_seconds <= 0:
            # A turn for the others: a caller that is always late must not hold up the loop.
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters.add(waiter)
        timer = loop.call_later(timeout_seconds, _release, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)
        self.check()

    def check(self) -> None:
        """Lets a caller go on only while the process is not stopping.

        Raises:
            ShuttingDownError: It is.
        """
        if self._stopped:
            raise ShuttingDownError("the process is stopping; go on at another instance")

    async def _follow(self, partition: int, seen: int) -> None:
        while True:
            if await self._tail.wait(partition, seen, _PATIENCE_SECONDS):
                seen = self._tail.end(partition)
                self._fire()

    def _fire(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            _release(waiter)


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
