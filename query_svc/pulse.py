"""One wake-up for all who wait on the log; promise: each is woken once a burst, none is missed.

Hundreds of subscriptions wait here. Each looks at the ends of the log first and waits only when
there is nothing for it; between looking and waiting nothing else runs, so no movement is missed.
They share one timer, since a timer for each wait costs more than the rest of the wait.
"""

import asyncio
import math

from eventspine.rpc.errors import ShuttingDownError
from eventspine.storage.tail import LogTail

_PATIENCE_SECONDS = 60.0
"""How long one look at the tail waits. Any number would do: it is looked at again."""

_CLOCK_SECONDS = 0.001
"""How much the event loop's clock may be behind its timers."""


class Pulse:
    """Tells waiters that the end of a partition has moved."""

    def __init__(self, tail: LogTail) -> None:
        """Follows a tail that has been started."""
        self._tail = tail
        # Until when each of them waits, by the event loop's time, and when the timer looks next.
        self._waiters: dict[asyncio.Future[None], float] = {}
        self._alarm_time = math.inf
        self._alarm: asyncio.TimerHandle | None = None
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
        if self._alarm is not None:
            self._alarm.cancel()
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
        until = self._waiters[waiter] = loop.time() + timeout_seconds
        if until < self._alarm_time:
            self._set_alarm(loop, until)
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)
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

    def _set_alarm(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_time = until
        self._alarm = loop.call_at(until, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Releases those whose time is up, and looks again when the next one's is."""
        now = loop.time() + _CLOCK_SECONDS
        for waiter in [waiter for waiter, until in self._waiters.items() if until <= now]:
            del self._waiters[waiter]
            _release(waiter)
        self._alarm, self._alarm_time = None, math.inf
        if self._waiters:
            self._set_alarm(loop, min(self._waiters.values()))

    def _fire(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            _release(waiter)


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
