"""Step 4, repair: what a process stored and did not publish, because it died, is published soon.

Any process takes over the windows of one whose beat stands still. It compares the streams that
were hinted at with the log, publishes what is missing there, marked as republished, and looks again
until no late append can come any more. Two that do so at once do no harm. Beats are compared with
earlier ones by one's own clock only, so that no clock has to agree with another.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence

from command_svc.hints import Hints, Window
from command_svc.settings import CommandSettings
from eventspine.rpc.figures import Figure
from eventspine.storage.connect import Backend
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.ports import HintStore
from eventspine.storage.records import HintWriter
from eventspine.storage.republish import behind, republish

STREAMS_AT_ONCE = 100
"""How many streams are compared with the log at a time."""

LOOK_SECONDS_MAX = 8.0
"""How long the pauses between two looks at a dead process's windows grow at most."""

_LOG = logging.getLogger(__name__)


class Repair:
    """Looks after the windows of dead processes, and after the losses of this one.

    Attributes:
        taken_over: How many processes were found dead.
        republished: How many records were published again.
    """

    def __init__(
        self,
        backend: Backend,
        hints: Hints,
        settings: CommandSettings,
        *,
        now: Callable[[], float] | None = None,
    ) -> None:
        """Repairs what is in a backend.

        Args:
            backend: Without hints it has nothing to repair.
            hints: Those of this process.
            settings: When things happen.
            now: Seconds from any moment on; None means the event loop's.
        """
        self._backend = backend
        self._hints = hints
        self._settings = settings
        self._now = now or (lambda: asyncio.get_running_loop().time())
        self._beats: dict[str, tuple[int, float]] = {}
        self._dead: dict[str, _Dead] = {}
        self._partitions = 0
        self._task: asyncio.Task[None] | None = None
        self.taken_over = 0
        self.republished = 0

    async def start(self) -> None:
        """Begins to look."""
        if self._backend.hints is not None:
            self._task = asyncio.create_task(self._run(), name="repair")

    async def stop(self) -> None:
        """Ends; what is not repaired is left to others."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def figures(self) -> Iterable[Figure]:
        """Returns what was repaired so far."""
        for name, text, count in (
            ("hints_failed", "How often hints could not be written.", self._hints.failed),
            ("repair_taken_over", "Processes that were found dead.", self.taken_over),
            ("repair_republished", "Records that were published again.", self.republished),
        ):
            yield Figure(f"eventspine_{name}_total", "counter", text, (), {(): count})

    async def look(self) -> None:
        """Looks once at all processes, and repairs what is due.

        Raises:
            StoreUnavailableError: Some of it was done. Safe to repeat.
            OutcomeUnknownError: The same.
        """
        store = self._backend.hints
        if store is None:
            return
        for window in self._hints.lost():
            await self._repair_own(window)
        writers = await store.writers()
        names = {writer.name for writer in writers}
        for gone in [name for name in self._beats if name not in names]:
            del self._beats[gone]
            self._dead.pop(gone, None)
        for writer in writers:
            if writer.name != self._hints.name and self._is_dead(writer):
                await self._take_over(store, writer)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                _LOG.warning("repair waits: %s", error)
            except Exception:
                _LOG.exception("a defect: repair is left to the auditor")
            await asyncio.sleep(self._settings.beat_seconds)

    def _is_dead(self, writer: HintWriter) -> bool:
        now = self._now()
        beat, since = self._beats.get(writer.name, (-1, now))
        if beat != writer.beat:
            self._beats[writer.name] = (writer.beat, now)
            if self._dead.pop(writer.name, None):
                _LOG.info("process %s lives after all", writer.name)
            return False
        return now - since >= self._settings.dead_seconds

    async def _take_over(self, store: HintStore, writer: HintWriter) -> None:
        """Looks at a dead process's windows, unless that was a moment ago."""
        now = self._now()
        dead = self._dead.get(writer.name)
        if dead is None:
            dead = self._dead[writer.name] = _Dead(now)
            self.taken_over += 1
            _LOG.info("process %s has died; its windows are taken over", writer.name)
        if now < dead.next_look:
            return
        # What is read now tells all only if no append could come any more when it began.
        final = now - dead.since >= self._settings.late_seconds
        windows = range(writer.first_window, writer.last_window + 2)
        hinted: set[str] = set()
        for window in windows:
            hinted.update(await store.streams(writer.name, window))
        missing = await self._publish_missing(hinted)
        dead.wait(now, self._settings)
        if final and not missing:
            for window in windows:
                await store.drop(writer.name, window)
            await store.forget(writer.name)
            del self._dead[writer.name]

    async def _repair_own(self, window: Window) -> None:
        """Publishes what this process had to leave out; the window is done when the log has it."""
        streams = set(window.streams)
        if not await self._publish_missing(streams):
            window.streams -= streams

    async def _publish_missing(self, streams: Collection[str]) -> int:
        """Publishes what the log lacks of streams; returns how many records that were."""
        named, count = list(streams), 0
        for first in range(0, len(named), STREAMS_AT_ONCE):
            count += await self._publish_part(named[first : first + STREAMS_AT_ONCE])
        if count:
            self.republished += count
            _LOG.info("%d records were not in the log and are published again", count)
        return count

    async def _publish_part(self, streams: Sequence[str]) -> int:
        events, log, bus = self._backend.events, self._backend.log, self._backend.bus
        self._partitions = self._partitions or len(await log.ends())
        # The log first: what it has then is stored when the heads are read.
        versions = await log.versions(streams)
        heads = await asyncio.gather(*[events.head(stream) for stream in streams])
        ends = [(stream, head.version) for stream, head in zip(streams, heads, strict=True)]
        return sum(
            [
                await republish(events, bus, self._partitions, stream, missing)
                for stream, missing in behind(ends, versions).items()
            ]
        )


class _Dead:
    """A process that was found dead."""

    def __init__(self, now: float) -> None:
        self.since = now
        self.next_look = now
        self._pause = 0.0

    def wait(self, now: float, settings: CommandSettings) -> None:
        """Lets the next look be later, each time by more."""
        self._pause = min(max(self._pause * 2, settings.beat_seconds), LOOK_SECONDS_MAX)
        self.next_look = now + self._pause
