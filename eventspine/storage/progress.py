"""How far builds have come, and which one serves; promise: learnt from the bus, not by polling."""

import asyncio
import logging
import math
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import count

from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.follow import Follower, tell, told
from eventspine.storage.ports import Bus, BusMessage, ViewRegistry, ViewStore
from eventspine.storage.records import Build, Builds, BuildsChange, ProgressChange

_log = logging.getLogger(__name__)

BUILD_STATE_SERVING = "serving"

REMEMBER_SECONDS = 5.0
"""How long builds are remembered at most: a message that they have changed may get lost."""

READ_AGAIN_SECONDS = 0.5
"""How long to wait for a message before the store is read again: it may have come too early."""


def build_id(view: str, number: int) -> str:
    """Returns the id of a view's build: `<view>@<number>`."""
    return f"{view}@{number}"


async def serving(registry: ViewRegistry, view: str) -> Build | None:
    """Looks up the build of a view that serves; None where there is none yet."""
    return _serving(await registry.builds(view))


class ProgressBoard:
    """The progress of builds, read when somebody asks and kept up by the `changes` channel.

    Attributes:
        following: Whether it is kept up, from `start` to `stop`.
    """

    def __init__(self, views: ViewStore, bus: Bus) -> None:
        """Knows nothing yet; the first question about a build reads its progress."""
        self._views = views
        self._boards: dict[str, _Board] = {}
        self._follower = Follower(bus, "changes", self._take)
        self.following = False

    async def start(self) -> None:
        """Follows progress from now on. Before this, every question reads the store."""
        self._follower.start()
        self.following = True

    async def stop(self) -> None:
        """Stops following. Those who wait do so until their time is up."""
        self.following = False
        for board in self._boards.values():
            board.read = False
        await self._follower.stop()

    async def passed(
        self, build_id: str, partition: int, sequence: int, timeout_seconds: float
    ) -> bool:
        """Waits until a build has passed a place of the log; False when the time was up before.

        The first question about a build reads its progress once, whatever the timeout is.

        Raises:
            StoreUnavailableError: The progress had to be read and cannot be.
        """
        board = await self._known(build_id)
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout_seconds
        while board.at(partition) < sequence:
            left = deadline - clock()
            if left <= 0:
                return False
            waited = await board.wait(partition, sequence, min(left, READ_AGAIN_SECONDS))
            if not waited and left > READ_AGAIN_SECONDS:
                await self._look_again(build_id, board)
        return True

    async def progress(self, build_id: str) -> tuple[int, ...]:
        """Returns the sequence that a build has passed, for each partition of the log.

        Raises:
            StoreUnavailableError: The progress had to be read and cannot be.
        """
        return tuple((await self._known(build_id)).sequences)

    async def _known(self, build_id: str) -> "_Board":
        board = self._boards.get(build_id)
        if board is None:
            board = self._boards[build_id] = _Board()
        if not board.read or board.reading.locked():
            await self._read(build_id, board)
        return board

    async def _read(self, build_id: str, board: "_Board") -> None:
        # Changes that come while the store is read are merged, so neither can be lost.
        async with board.reading:
            if not board.read:
                board.read = self.following
                board.read_time = asyncio.get_running_loop().time()
                try:
                    progress = await self._views.progress(build_id)
                except BaseException:
                    board.read = False
                    raise
                for partition, sequence in enumerate(progress):
                    board.advance(partition, sequence)

    async def _look_again(self, build_id: str, board: "_Board") -> None:
        """Reads the progress anew, once for all who have waited for so long."""
        if asyncio.get_running_loop().time() < board.read_time + READ_AGAIN_SECONDS / 2:
            return
        board.read = False
        try:
            await self._read(build_id, board)
        except StoreUnavailableError as error:
            _log.warning("the progress of %s cannot be read: %s", build_id, error)

    async def _take(self, batch: Sequence[BusMessage]) -> None:
        if not batch:
            await self._read_again()
            return
        for message in batch:
            if type(message) is ProgressChange:
                # Also of builds that nobody has asked for yet: the store is told a little later.
                board = self._boards.get(message.build_id)
                if board is None:
                    board = self._boards[message.build_id] = _Board()
                board.advance(message.partition, message.sequence)

    async def _read_again(self) -> None:
        """Changes were left out: reads at once where somebody waits, else at the next question."""
        for board in self._boards.values():
            board.read = False
        for build_id, board in list(self._boards.items()):
            if board.waited_for:
                try:
                    await self._read(build_id, board)
                except StoreUnavailableError as error:
                    board.fail(error)


class _Board:
    """One build: what it has passed, and who waits for what."""

    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.read = False
        self.read_time = -math.inf
        self.reading = asyncio.Lock()
        self._waiting: list[list[_Waiter]] = []
        self._numbers = count()

    @property
    def waited_for(self) -> bool:
        return any(self._waiting)

    def at(self, partition: int) -> int:
        return self.sequences[partition] if partition < len(self.sequences) else 0

    def advance(self, partition: int, sequence: int) -> None:
        """Moves a partition up, never down, and wakes those who waited for no more than that."""
        self._reach(partition)
        if sequence <= self.sequences[partition]:
            return
        self.sequences[partition] = sequence
        waiting = self._waiting[partition]
        while waiting and waiting[0][0] <= sequence:
            tell(heappop(waiting)[2], True)

    async def wait(self, partition: int, sequence: int, timeout_seconds: float) -> bool:
        """Waits for a place; only those are woken that have what they wait for."""
        self._reach(partition)
        signal = asyncio.get_running_loop().create_future()
        waiter = sequence, next(self._numbers), signal
        waiting = self._waiting[partition]
        heappush(waiting, waiter)
        passed = False
        try:
            passed = await told(signal, timeout_seconds)
        finally:
            # Those who got what they waited for have left the heap.
            if not passed and waiter in waiting:
                waiting.remove(waiter)
                heapify(waiting)
        return passed

    def fail(self, error: StoreUnavailableError) -> None:
        """Tells all who wait that what they wait for cannot be known."""
        for waiting in self._waiting:
            for _, _, signal in waiting:
                if not signal.done():
                    signal.set_exception(error)
            waiting.clear()

    def _reach(self, partition: int) -> None:
        while len(self.sequences) <= partition:
            self.sequences.append(0)
            self._waiting.append([])


_Waiter = tuple[int, int, asyncio.Future[bool]]


class ServingBuilds:
    """The builds of each view, remembered until the `changes` channel says that they changed.

    Attributes:
        following: Whether they are remembered, from `start` to `stop`.
    """

    def __init__(
        self, registry: ViewRegistry, bus: Bus, *, remember_seconds: float = REMEMBER_SECONDS
    ) -> None:
        """Remembers nothing before `start`; until then every question reads the registry."""
        self._registry = registry
        self._remember_seconds = remember_seconds
        self._builds: dict[str, tuple[Builds, float]] = {}
        self._follower = Follower(bus, "changes", self._take)
        self.following = False
        # Counts what was forgotten, so that an answer read before is not remembered after.
        self._forgotten = 0

    async def start(self) -> None:
        """Remembers from now on."""
        self._follower.start()
        self.following = True

    async def stop(self) -> None:
        """Remembers nothing any more."""
        self.following = False
        self._builds.clear()
        await self._follower.stop()

    async def builds(self, view: str) -> Builds:
        """Returns the builds of a view, oldest first; revision 0 and none for an unknown view."""
        now = asyncio.get_running_loop().time()
        known = self._builds.get(view)
        if known is not None and now < known[1]:
            return known[0]
        forgotten = self._forgotten
        builds = await self._registry.builds(view)
        # A view without builds is not remembered: its first build may be made any moment.
        if builds.builds and self.following and forgotten == self._forgotten:
            self._builds[view] = builds, now + self._remember_seconds
        return builds

    async def serving(self, view: str) -> Build | None:
        """Returns the build of a view that serves; None where there is none yet."""
        return _serving(await self.builds(view))

    async def build_id(self, view: str, number: int = 0) -> str | None:
        """Returns the id of a build, of the one that serves for 0; None where there is none."""
        if number == 0:
            build = await self.serving(view)
            return None if build is None else build_id(view, build.number)
        numbers = [build.number for build in (await self.builds(view)).builds]
        return build_id(view, number) if number in numbers else None

    async def _take(self, batch: Sequence[BusMessage]) -> None:
        if not batch:
            self._forgotten += 1
            self._builds.clear()
        for message in batch:
            if type(message) is BuildsChange:
                self._forgotten += 1
                self._builds.pop(message.view, None)


def _serving(builds: Builds) -> Build | None:
    return next((b for b in builds.builds if b.state == BUILD_STATE_SERVING), None)
