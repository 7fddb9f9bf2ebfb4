"""Step 6 in several processes: which partitions of the log this one folds, and how all stand still.

Promise: a build that stands still is folded by nobody, as far as every process looks into the
registry in time; what one folds that does not, is refused by the store or found by its progress.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager

from eventspine.storage.ports import ShareReader
from eventspine.storage.records import Build, Builds
from eventspine.storage.tail import LogTail
from processor_svc.builds import Lifecycle, paused_all

LOOK_SECONDS = 1.0
"""How often to look which builds there are; other processes change them too."""


class Share:
    """The partitions of this process.

    Attributes:
        owned: The partitions; none before the first are given to this process.
    """

    def __init__(self, lifecycle: Lifecycle, tail: LogTail, *, look_seconds: float) -> None:
        """Owns nothing yet.

        Args:
            lifecycle: What builds are paused by.
            tail: Of the log, which knows how many partitions there are.
            look_seconds: How often every process looks which builds there are.
        """
        self.owned: frozenset[int] = frozenset()
        self._lifecycle = lifecycle
        self._tail = tail
        self._look_seconds = look_seconds

    @property
    def alone(self) -> bool:
        """Whether there is no other process that folds."""
        return len(self.owned) == self._tail.partitions

    async def follow(
        self, shares: ShareReader, changed: Callable[[frozenset[int]], Awaitable[None]]
    ) -> None:
        """Follows what belongs to this process until it is cancelled, and then gives it up.

        Args:
            shares: What the bus tells.
            changed: Called after each change, with the partitions that were lost.
        """
        async with aclosing(shares):
            async for owned in shares:
                lost = self.owned - owned
                self.owned = owned
                await changed(lost)

    @asynccontextmanager
    async def still(self, view: str, builds: Sequence[Build]) -> AsyncIterator[Builds]:
        """Keeps other processes from folding builds, by pausing these in the registry.

        A crash meanwhile leaves them paused; operators see that, and resume them.

        Raises:
            StoreUnavailableError: The builds cannot be paused or, at the end, resumed.
        """
        moving = {build.number for build in builds if not build.paused}
        if self.alone or not moving:
            await self.others_look()
            yield await self._lifecycle.builds(view)
            return
        try:
            await self._pause(view, moving, value=True)
            await self.others_look()
            yield await self._lifecycle.builds(view)
        finally:
            await asyncio.shield(self._pause(view, moving, value=False))

    async def others_look(self) -> None:
        """Waits until other processes have looked which builds there are, if there are any."""
        if not self.alone:
            await asyncio.sleep(2 * self._look_seconds)

    async def _pause(self, view: str, numbers: Collection[int], *, value: bool) -> None:
        await self._lifecycle.change(view, lambda now: paused_all(now, numbers, value=value))
