"""Places in the log, found in the window of a tail first."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from eventspine.storage.bus import LocalBus
from eventspine.storage.memory.log import MemoryEventLog
from eventspine.storage.places import Places
from eventspine.storage.records import LogPlace, StreamPlace
from eventspine.storage.tail import LogTail
from tests.storage.bus_suite import entries

NEVER = 3600.0


class LateLog(MemoryEventLog):
    """A log that another process extends: it tells no place while it is `late`."""

    late = True
    asked = 0

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def positions(self, places: Sequence[StreamPlace]) -> list[LogPlace | None]:
        self.asked += len(places)
        if self.meanwhile is not None:
            await self.meanwhile()
        return [None] * len(places) if self.late else await super().positions(places)


class Around:
    def __init__(self) -> None:
        self.log = LateLog()
        self.bus = LocalBus()
        self.tail = LogTail(self.log, self.bus, poll_seconds=NEVER)
        self.places = Places(self.log, self.tail)

    async def extended(self, first: int, last: int) -> None:
        added = entries(first, last)
        await self.log.extend(0, first - 1, added)
        await self.bus.publish("log", 0, added)
        assert await self.tail.wait(0, last - 1, 5)

    async def wait(self, version: int, seconds: float) -> list[LogPlace] | None:
        deadline = asyncio.get_running_loop().time() + seconds
        return await self.places.wait([StreamPlace("account/a", version)], deadline, self._pause)

    async def _pause(self, seconds: float) -> None:
        await self.tail.wait(0, self.tail.end(0), seconds)


@pytest.fixture
async def around() -> AsyncIterator[Around]:
    around = Around()
    await around.tail.start()
    yield around
    await around.tail.stop()


async def test_a_fresh_place_is_found_without_the_log(around: Around) -> None:
    await around.extended(1, 3)
    places = [StreamPlace("account/a", version) for version in (3, 1)]
    assert await around.places.find(places) == [LogPlace(0, 3), LogPlace(0, 1)]
    assert around.log.asked == 0


async def test_what_the_window_lacks_is_asked_of_the_log(around: Around) -> None:
    await around.log.extend(0, 0, entries(1, 2))
    around.log.late = False
    await around.bus.publish("log", 0, entries(1, 2))
    places = [StreamPlace("account/a", 1), StreamPlace("account/b", 1)]
    assert await around.places.find(places) == [LogPlace(0, 1), None]
    assert around.log.asked <= 2


async def test_a_wait_ends_when_the_entry_comes_and_asks_the_log_now_and_then_only(
    around: Around,
) -> None:
    waiting = asyncio.create_task(around.wait(40, 30))
    for version in range(1, 41):
        await around.extended(version, version)
    assert await waiting == [LogPlace(0, 40)]
    assert around.log.asked < 40


async def test_a_wait_ends_when_the_log_tells_what_never_was_in_the_window(
    around: Around,
) -> None:
    # Nobody tells it on the bus, and the tail looks at the log only at its start.
    waiting = asyncio.create_task(around.wait(1, 30))
    await around.log.extend(0, 0, entries(1, 1))
    around.log.late = False
    assert await waiting == [LogPlace(0, 1)]


async def test_what_comes_while_the_log_is_asked_is_found_without_a_pause(around: Around) -> None:
    around.log.meanwhile = lambda: around.extended(1, 1)

    async def pause(seconds: float) -> None:
        raise AssertionError(f"the entry is there, and it waits {seconds} s")

    deadline = asyncio.get_running_loop().time()
    places = [StreamPlace("account/a", 1)]
    assert await around.places.wait(places, deadline, pause) == [LogPlace(0, 1)]
    assert around.log.asked == 1


async def test_a_wait_asks_the_log_only_once_the_entry_is_not_a_fresh_one(around: Around) -> None:
    asked: list[int] = []

    async def pause(seconds: float) -> None:
        asked.append(around.log.asked)
        await around.extended(1, 1)

    deadline = asyncio.get_running_loop().time() + 30
    places = [StreamPlace("account/a", 1)]
    assert await around.places.wait(places, deadline, pause) == [LogPlace(0, 1)]
    assert (asked, around.log.asked) == ([0], 0)


async def test_a_wait_ends_when_the_time_is_up(around: Around) -> None:
    assert await around.wait(1, 0.01) is None
    assert await around.wait(1, 0) is None


async def test_without_a_tail_the_log_is_asked_each_time(around: Around) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            await around.log.extend(0, 0, entries(1, 1))
            around.log.late = False

    deadline = asyncio.get_running_loop().time() + 30
    found = await Places(around.log, None).wait([StreamPlace("account/a", 1)], deadline, pause)
    assert (found, len(pauses), around.log.asked) == ([LogPlace(0, 1)], 3, 4)
