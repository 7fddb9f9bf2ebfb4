"""Following one channel of the bus in the background, and waiting for what it brings.

Promise: a bad batch does not end the following, and waiting ends in time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.ports import Bus, BusMessage, BusReader

Take = Callable[[Sequence[BusMessage]], Awaitable[None]]

_logger = logging.getLogger(__name__)


class Follower:
    """Hands every batch of a channel to a coroutine function, one after the other.

    An empty batch says that messages were left out. What the function raises is logged, and the
    next batch is taken.
    """

    def __init__(self, bus: Bus, channel: str, take: Take) -> None:
        """Names the channel and what takes its batches."""
        self._bus = bus
        self._channel = channel
        self._take = take
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follows from now on: what is published after this call is taken."""
        if self._task is None:
            # The channel is joined here, not in the task, which begins later.
            reader = self._bus.tail(self._channel)
            self._task = asyncio.create_task(self._follow(reader), name=f"follow {self._channel}")

    async def stop(self) -> None:
        """Ends following. Safe to call again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _follow(self, reader: BusReader) -> None:
        async with aclosing(reader):
            async for batch in reader:
                await guarded(self._take(batch), self._channel)


async def guarded(work: Awaitable[None], name: str) -> None:
    """Awaits work in the background and logs what it raises, with the name of what it is for."""
    try:
        await work
    except StoreUnavailableError as error:
        _logger.warning("%s: the store cannot be read, trying again later: %s", name, error)
    except Exception:
        _logger.exception("%s: a defect; going on without what failed", name)


async def told(signal: asyncio.Future[bool], timeout_seconds: float) -> bool:
    """Waits for a signal, which is for this caller alone; False when the time was up before.

    Hundreds wait at the same time, again and again. This costs half of `asyncio.timeout`, since the
    end of the time is a result like any other and cancels no task.
    """
    timer = signal.get_loop().call_later(timeout_seconds, tell, signal, False)
    try:
        return await signal
    finally:
        timer.cancel()


def tell(signal: asyncio.Future[bool], come: bool) -> None:
    """Gives a signal unless it was given, or its waiter has gone."""
    if not signal.done():
        signal.set_result(come)
