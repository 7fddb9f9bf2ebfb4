"""Beside serve: an answer that waits until views show its events; they stay stored in any case."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar

from command_svc.command import Answer, Command
from eventspine.domain.declared import Declarations
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.places import Places
from eventspine.storage.ports import EventLog
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.storage.records import LogPlace, StreamPlace
from eventspine.storage.tail import LogTail

PAUSE_SECONDS = 0.002
PAUSE_SECONDS_MAX = 0.05

MARGIN_SECONDS = 0.1
"""How long before its deadline a caller gets the answer without the wait."""

_LOG = logging.getLogger(__name__)

Found = TypeVar("Found")


class ProjectWait:
    """Waits for views on behalf of commands."""

    def __init__(
        self,
        declarations: Declarations,
        log: EventLog,
        progress: ProgressBoard,
        serving: ServingBuilds,
        tail: LogTail | None = None,
    ) -> None:
        """Finds places in a log, and follows how far the serving builds have come.

        Args:
            declarations: The views that may be waited for.
            log: The log.
            progress: How far builds are.
            serving: Which builds serve.
            tail: The end of a log that another process extends, which then tells places late.

        What is not followed yet is followed from the first wait on: a process whose commands never
        wait spares itself all that the processors tell.
        """
        self._views = tuple(declarations.views)
        self._tail = tail
        self._places = Places(log, tail)
        self._progress = progress
        self._serving = serving
        self._begun: list[ProgressBoard | ServingBuilds | LogTail] = []

    async def stop(self) -> None:
        """Stops to follow what was followed for waits. Safe also where nothing was."""
        begun, self._begun = self._begun, []
        for part in begun:
            await part.stop()

    async def projected(self, command: Command, answer: Answer) -> Answer:
        """Returns the answer once the awaited views have passed its events, or time is over."""
        wait_for = command.header.wait_for
        if wait_for is None or answer.would_append is not None:
            return answer
        now = asyncio.get_running_loop().time()
        until = min(now + wait_for.seconds, command.deadline - MARGIN_SECONDS)
        try:
            async with asyncio.timeout_at(until):
                await self._passed(command.stream, answer, wait_for.views or self._views)
        except TimeoutError:
            return answer
        except StoreUnavailableError as error:
            _LOG.warning("stream %s: nobody can tell how far views are: %s", command.stream, error)
            return answer
        return answer._replace(projected=True)

    async def _passed(self, stream: str, answer: Answer, views: tuple[str, ...]) -> None:
        if answer.last_version == 0:
            return
        await self._begin()
        if answer.sequence is None:
            place = await self._place(StreamPlace(stream, answer.last_version))
        else:
            place = LogPlace(0, answer.sequence)
        for view in views:
            await self._view_passed(view, place)

    async def _begin(self) -> None:
        if self._tail is not None and self._tail not in self._begun:
            await self._tail.start()
            self._begun.append(self._tail)
        for board in (self._progress, self._serving):
            if not board.following:
                await board.start()
                self._begun.append(board)

    async def _place(self, place: StreamPlace) -> LogPlace:
        pause = PAUSE_SECONDS

        async def wait(_: float) -> None:
            nonlocal pause
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_SECONDS_MAX)

        # The caller's time limits the wait.
        found = await self._places.wait([place], math.inf, wait)
        assert found is not None
        return found[0]

    async def _view_passed(self, view: str, place: LogPlace) -> None:
        build_id = await _found(lambda: self._serving.build_id(view))
        while not await self._progress.passed(build_id, place.partition, place.sequence, 60.0):
            pass  # The caller's time limits the wait.


async def _found(look: Callable[[], Awaitable[Found | None]]) -> Found:
    """Looks again and again, until there is something; the caller's time limits it."""
    pause = PAUSE_SECONDS
    while (found := await look()) is None:
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSE_SECONDS_MAX)
    return found
