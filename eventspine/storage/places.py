"""Where in the log versions of streams are; promise: a fresh one is found without asking the store.

A log that another process extends tells places some seconds late. The window of this process's
tail has them as soon as the bus or a look at the log brings them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from eventspine.storage.ports import LogIndex
from eventspine.storage.records import LogPlace, StreamPlace
from eventspine.storage.tail import LogTail

FRESH_SECONDS = 0.02
"""How long to go by the window alone at first: what was just stored comes there in less."""

ASK_SECONDS = 0.25
"""How long to go by the window alone, before the log is asked again."""


class Places:
    """Finds places in the window of a tail first, and then in the log."""

    def __init__(self, log: LogIndex, tail: LogTail | None) -> None:
        """Asks a log; without a tail, for everything."""
        self._log = log
        self._tail = tail

    async def find(self, asked: Sequence[StreamPlace]) -> list[LogPlace | None]:
        """Returns where each version of a stream is; None for one that is not known to be there.

        Raises:
            StoreUnavailableError: The log had to be asked and cannot be read.
        """
        found = self._in_window(asked)
        missing = [place for place, at in zip(asked, found, strict=True) if at is None]
        if not missing:
            return found
        rest = iter(await self._log.positions(missing))
        return [next(rest) if at is None else at for at in found]

    async def wait(
        self,
        asked: Sequence[StreamPlace],
        deadline: float,
        pause: Callable[[float], Awaitable[None]],
    ) -> list[LogPlace] | None:
        """Waits until all versions are in the log; None when they are not in time.

        Args:
            asked: The versions.
            deadline: By the event loop's time.
            pause: Waits until the log may have moved, but not longer than the seconds it is given.

        Raises:
            StoreUnavailableError: The log had to be asked and cannot be read.
        """
        clock = asyncio.get_running_loop().time
        ask_at = clock() if self._tail is None else min(clock() + FRESH_SECONDS, deadline)
        while True:
            found = self._in_window(asked)
            if None in found and clock() >= ask_at:
                found = await self.find(asked)
                if None in found:
                    # What came meanwhile has woken nobody, since nobody was waiting for it.
                    later = self._in_window(asked)
                    found = [a if a is not None else b for a, b in zip(found, later, strict=True)]
                ask_at = clock() + ASK_SECONDS
            known = [place for place in found if place is not None]
            if len(known) == len(asked):
                return known
            left = deadline - clock()
            if left <= 0:
                return None
            if self._tail is None:
                # Without a window, every movement is a reason to ask.
                await pause(left)
                ask_at = clock()
            else:
                await pause(min(left, max(ask_at - clock(), 0.0)))

    def _in_window(self, asked: Sequence[StreamPlace]) -> list[LogPlace | None]:
        if self._tail is None:
            return [None] * len(asked)
        return [self._tail.place(stream, version) for stream, version in asked]
