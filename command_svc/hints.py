"""Beside append: hints of the streams that are about to change, in windows; see `HintStore`.

All hints of one tick are one small write, which goes out beside the appends and not before them. A
window is dropped as a whole once everything that was hinted in it is on the bus. Nothing waits for
a hint, and nothing fails because of one.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Sequence

from command_svc.settings import CommandSettings
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.ports import HintStore
from eventspine.storage.records import Append, HintWriter

_LOG = logging.getLogger(__name__)


class Window:
    """The hints of some seconds.

    Attributes:
        number: From 1, ascending.
        open_records: How many records of its appends are not on the bus, nor known not to be
            stored.
        streams: Those whose records did not get to the bus.
        hinted: Whether hints were written for it.
    """

    __slots__ = ("hinted", "number", "open_records", "streams")

    def __init__(self, number: int) -> None:
        """Makes an empty window."""
        self.number = number
        self.open_records = 0
        self.streams: set[str] = set()
        self.hinted = False

    def published(self, stream: str, *, on_the_bus: bool) -> None:
        """Takes that a record is on the bus, or never gets there from here."""
        self.open_records -= 1
        if not on_the_bus:
            self.streams.add(stream)

    def not_stored(self, append: Append) -> None:
        """Takes that an append stored nothing."""
        self.open_records -= len(append.records)

    def none_stored(self, appends: Sequence[Append]) -> None:
        """Takes that a whole group of appends stored nothing."""
        for append in appends:
            self.not_stored(append)


class Hints:
    """The hints of this process.

    Attributes:
        name: The process, as others know it.
        failed: How often hints could not be written.
    """

    def __init__(self, store: HintStore | None, settings: CommandSettings) -> None:
        """Leaves hints in a store; None leaves none."""
        self._store = store
        self._settings = settings
        self.name = secrets.token_hex(8)
        self.failed = 0
        self._beat = 0
        self._window = Window(1)
        self._filled: dict[int, Window] = {}
        self._ticks: dict[int, dict[str, None]] = {}
        self._writing = 0
        self._awake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to write hints, and to tell that this process lives."""
        if self._store is not None:
            self._tasks = [
                asyncio.create_task(self._write_ticks(self._store), name="hints: write"),
                asyncio.create_task(self._tell(self._store), name="hints: tell"),
            ]

    async def stop(self) -> None:
        """Drops the windows of which all is on the bus, and is forgotten if none is left."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._store is None or not self._tasks:
            return
        self._tasks = []
        self._ticks.clear()
        self._writing = 0
        self._filled[self._window.number] = self._window
        with contextlib.suppress(StoreUnavailableError, OutcomeUnknownError):
            await self._drop_done(self._store)
            if not self._filled:
                await self._store.forget(self.name)

    def begin(self, appends: Sequence[Append]) -> Window | None:
        """Hints at the streams of appends that are about to be sent; never waits.

        Returns:
            The window that has to hear what became of each record; None where none are left.
        """
        if self._store is None:
            return None
        window = self._window
        tick = self._ticks.setdefault(window.number, {})
        for append in appends:
            if append.records:
                window.open_records += len(append.records)
                tick[append.stream] = None
        window.hinted = True
        self._awake.set()
        return window

    def lost(self) -> list[Window]:
        """Returns the windows that are done but for records that did not get to the bus."""
        return [w for w in self._filled.values() if w.streams and not w.open_records]

    async def beat(self) -> None:
        """Tells that this process lives; begins a new window where it is time, and drops done ones.

        Raises:
            StoreUnavailableError: It could not tell. Nothing else was done.
            OutcomeUnknownError: The same, as far as this process knows.
        """
        if self._store is None:
            return
        self._beat += 1
        first = min(self._filled, default=self._window.number)
        await self._store.beat(HintWriter(self.name, self._beat, first, self._window.number))
        settings = self._settings
        beats_per_window = max(1, round(settings.hint_window_seconds / settings.beat_seconds))
        if self._window.hinted and self._beat % beats_per_window == 0:
            # Others look into the window after the one that they know, so it may be used at once.
            self._filled[self._window.number] = self._window
            self._window = Window(self._window.number + 1)
        await self._drop_done(self._store)

    async def _drop_done(self, store: HintStore) -> None:
        for window in [*self._filled.values()]:
            written = window.number not in self._ticks and window.number != self._writing
            if written and not window.open_records and not window.streams:
                if window.hinted:
                    await store.drop(self.name, window.number)
                del self._filled[window.number]

    async def _tell(self, store: HintStore) -> None:
        while True:
            try:
                await self.beat()
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                _LOG.warning("this process cannot tell that it lives: %s", error)
            except Exception:
                _LOG.exception("a defect: this process cannot tell that it lives")
            await asyncio.sleep(self._settings.beat_seconds)

    async def _write_ticks(self, store: HintStore) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            for number in [*self._ticks]:
                self._writing, streams = number, self._ticks.pop(number)
                try:
                    await store.note(self.name, number, [*streams])
                except (StoreUnavailableError, OutcomeUnknownError) as error:
                    self._fail("hints were not written: %s", error)
                except Exception as error:
                    self._fail("a defect: hints were not written: %r", error)
                self._writing = 0
            await asyncio.sleep(self._settings.hint_tick_seconds)

    def _fail(self, text: str, error: Exception) -> None:
        if not self.failed:
            _LOG.warning(text, error)
        self.failed += 1
