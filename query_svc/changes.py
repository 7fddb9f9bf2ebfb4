"""Row changes to those who watch (step 8); promise: one reader of the bus, the latest change wins.

The bus is read once per process, and each change goes to the watchers of its row. A watcher holds
the latest change of each log partition and no more, however slowly it reads.
"""

import asyncio
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from eventspine.storage.follow import Follower
from eventspine.storage.ports import Bus, BusMessage
from eventspine.storage.records import BuildsChange, PartialRow, ProgressChange, RowChange

_RowId = tuple[str, bytes]  # a build's id and an encoded key
_Name = TypeVar("_Name", bound=Hashable)


class Watcher:
    """What has happened to one row since it was last looked at.

    Attributes:
        changed: The latest change by log partition.
        reload: Whether changes were left out, so that the row has to be read again.
        moved: Whether the builds of the view have changed.
    """

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.changed: dict[int, PartialRow] = {}
        self.reload = False
        self.moved = False
        self._happened = asyncio.Event()

    def happened(self) -> None:
        """Wakes whoever waits."""
        self._happened.set()

    async def wait(self, timeout_seconds: float) -> bool:
        """Waits until something happens; False when the time was up before."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._happened.wait()
        except TimeoutError:
            # What came together with the end of the time has come.
            if not self._happened.is_set():
                return False
        self._happened.clear()
        return True

    def take(self) -> dict[int, PartialRow]:
        """Returns the changes since the last time and forgets them."""
        changed, self.changed = self.changed, {}
        return changed


class Changes:
    """Routes the `changes` channel to watchers."""

    def __init__(self, bus: Bus) -> None:
        """Follows the bus once it is started."""
        self._rows: dict[_RowId, set[Watcher]] = {}
        self._views: dict[str, set[Watcher]] = {}
        self._progress: dict[str, dict[int, int]] = {}
        self._follower = Follower(bus, "changes", self._route)
        self.stopped = False

    @property
    def watched(self) -> int:
        """How many rows have a watcher."""
        return len(self._rows)

    def start(self) -> None:
        """Begins to follow."""
        self.stopped = False
        self._follower.start()

    async def stop(self) -> None:
        """Stops following and wakes all watchers, so that they end."""
        self.stopped = True
        for watcher in self._all():
            watcher.happened()
        await self._follower.stop()

    @contextmanager
    def watching(self, view: str, build_id: str, key: bytes) -> Iterator[Watcher]:
        """Watches one row of one build, from entering to leaving."""
        watcher = Watcher()
        row = build_id, key
        self._rows.setdefault(row, set()).add(watcher)
        self._views.setdefault(view, set()).add(watcher)
        try:
            yield watcher
        finally:
            _leave(self._rows, row, watcher)
            _leave(self._views, view, watcher)

    def progress(self, build_id: str) -> Mapping[int, int]:
        """Returns, by log partition, up to where watchers of a build were given all changes."""
        return self._progress.get(build_id, {})

    async def _route(self, batch: Sequence[BusMessage]) -> None:
        if not batch:
            # What was left out may lie before progress that comes next; the reload covers it.
            for watcher in self._all():
                watcher.reload = watcher.moved = True
                watcher.happened()
        for message in batch:
            if type(message) is RowChange:
                self._changed(message)
            elif type(message) is ProgressChange:
                self._passed(message)
            elif type(message) is BuildsChange:
                for watcher in self._views.get(message.view, ()):
                    watcher.moved = True
                    watcher.happened()

    def _passed(self, progress: ProgressChange) -> None:
        passed = self._progress.setdefault(progress.build_id, {})
        if passed.get(progress.partition, -1) < progress.after:
            # A processor may have died between saving changes and telling them.
            for (build_id, _), watchers in self._rows.items():
                for watcher in watchers if build_id == progress.build_id else ():
                    watcher.reload = True
                    watcher.happened()
        passed[progress.partition] = progress.sequence

    def _changed(self, change: RowChange) -> None:
        for watcher in self._rows.get((change.build_id, change.key), ()):
            known = watcher.changed.get(change.partition)
            if known is None or known.sequence < change.row.sequence:
                watcher.changed[change.partition] = change.row
            watcher.happened()

    def _all(self) -> Iterable[Watcher]:
        return [watcher for watchers in self._views.values() for watcher in watchers]


def _leave(table: dict[_Name, set[Watcher]], name: _Name, watcher: Watcher) -> None:
    watchers = table[name]
    watchers.discard(watcher)
    if not watchers:
        del table[name]
