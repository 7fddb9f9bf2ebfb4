"""Step 6, turn by turn; promise: rows and progress are saved as one, and told only after that.

A turn reads what is new in one partition, decodes it once for all builds that stand at the same
place, folds it in memory, saves rows and progress as one, and only then tells those who watch. When
the store is down nothing is parked and nothing is skipped: what was not saved is forgotten, and the
turn is taken again from the place that is, after a rest.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum, auto
from typing import NamedTuple

from eventspine.domain.fold import Touched
from eventspine.rpc import logs
from eventspine.storage.errors import (
    OutcomeUnknownError,
    ProgressMovedError,
    StoreUnavailableError,
)
from eventspine.storage.ports import Bus, BusMessage, ViewRegistry, ViewStore
from eventspine.storage.records import ProgressChange, RowChange, ViewBatch
from eventspine.storage.tail import LogTail
from processor_svc.decode import classes_of, decode
from processor_svc.one_pass import fold_page
from processor_svc.rows import BuildRows, TooManyParkedError

_log = logging.getLogger("eventspine.project")

CAREFUL_ENTRIES_MAX = 2_000
"""How many entries are folded at once where something cannot be folded."""


class Stride(NamedTuple):
    """How far one turn goes before it saves.

    Attributes:
        read_entries_max: How many entries are read, decoded and folded at once.
        entries_max: How many entries a turn folds at most.
        rows_max: After how many changed rows a turn saves.
    """

    read_entries_max: int
    entries_max: int
    rows_max: int


class Page(NamedTuple):
    """Encoded records of a partition that follow each other.

    Attributes:
        after: The sequence before the first.
        records: One at least.
    """

    after: int
    records: Sequence[bytes]

    @property
    def last(self) -> int:
        """The sequence of the last record."""
        return self.after + len(self.records)


class _Outcome(Enum):
    """What became of a turn: all was saved; or nothing, for one of three reasons."""

    TAKEN = auto()
    MOVED = auto()
    REFUSED = auto()
    DEFECT = auto()


async def _nothing() -> None:
    """Has nothing to look at."""


class Projector:
    """Takes turns with the builds of one partition."""

    def __init__(
        self,
        partition: int,
        tail: LogTail,
        store: ViewStore,
        registry: ViewRegistry,
        bus: Bus,
        moved: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """Projects one partition of the log that the tail follows.

        Args:
            partition: The partition.
            tail: The end of the log.
            store: Where rows and progress are kept.
            registry: Where parked keys are kept.
            bus: Those who watch are told on its channel `changes`.
            moved: Called after a save was refused, because another process folded the build or
                deleted it: it takes out what is not to be folded any more.
        """
        self._moved = moved
        self.partition = partition
        self.tail = tail
        self._store = store
        self._registry = registry
        self._bus = bus
        self._unpublished: dict[str, list[BusMessage]] = {}

    async def turn(self, builds: Sequence[BuildRows], stride: Stride) -> None:
        """Folds and saves what is new, at most one stride; what cannot go on rests.

        Builds that are not active or rest are left out, and those at another place than the first.
        """
        async with _held(builds):
            active = [rows for rows in builds if rows.active and not rows.rest.left]
            outcome = await self._taken(active, stride)
        if outcome is _Outcome.MOVED:
            await self._moved()
        elif outcome is _Outcome.DEFECT and len(active) > 1:
            # One build's defect must not hold up the others that are folded with it.
            for rows in active:
                await self.turn([rows], stride)

    async def _taken(self, builds: Sequence[BuildRows], stride: Stride) -> "_Outcome":
        """Takes a turn with builds that are held; what was not saved is forgotten."""
        try:
            await self._go_on(builds, stride)
            return _Outcome.TAKEN
        except ProgressMovedError:
            _log.warning("%s moved without us, reading again", _names(builds))
            outcome = _Outcome.MOVED
        except (StoreUnavailableError, OutcomeUnknownError) as error:
            _log.warning("%s cannot go on for now, trying again: %s", _names(builds), error)
            outcome = _Outcome.REFUSED
        except TooManyParkedError as error:
            if len(builds) == 1:
                _log.error("%s stands still: %s", _names(builds), error)
            outcome = _Outcome.DEFECT
        except Exception:
            # It is shown each time, and no event is left out because of it.
            _log.exception("%s cannot go on, trying again", _names(builds))
            outcome = _Outcome.DEFECT
        for rows in builds:
            rows.forget()
            if outcome is not _Outcome.DEFECT or len(builds) == 1:
                rows.rest.begin()
        return outcome

    async def _go_on(self, builds: Sequence[BuildRows], stride: Stride) -> None:
        for rows in [rows for rows in builds if not rows.opened]:
            await self.open(rows)
        together = [rows for rows in builds if rows.reached == builds[0].reached]
        if together:
            await self.advance(together, stride, through=self.tail.end(self.partition))
        for rows in builds:
            rows.rest.over()

    async def open(self, rows: BuildRows) -> None:
        """Reads where a build is, and tells those who watch what was saved but not told.

        Raises:
            StoreUnavailableError: Nothing was read.
        """
        await rows.open(self._store, self._registry)
        untold = self._unpublished.pop(rows.build_id, [])
        saved = [one for one in untold[-1:] if isinstance(one, ProgressChange)]
        if not saved or saved[0].sequence != rows.progress:
            # Others may have saved what they did not come to tell.
            untold = [ProgressChange(rows.build_id, self.partition, rows.progress, rows.progress)]
        await self._bus.publish("changes", self.partition, untold)

    async def advance(self, builds: Sequence[BuildRows], stride: Stride, *, through: int) -> None:
        """Folds and saves up to `through`, at most one stride. The caller holds the builds.

        Raises:
            StoreUnavailableError: Nothing was saved; the builds are to be forgotten.
            ProgressMovedError: Nothing was saved; the builds are to be forgotten.
        """
        last = min(through, builds[0].reached + stride.entries_max)
        page = await self._read(builds[0].reached, last, stride)
        while page is not None:
            if page.last >= last:
                await self._fold(builds, page)
                break
            page = await self._fold_and_read(builds, page, self._read(page.last, last, stride))
            if max(rows.changed_rows for rows in builds) >= stride.rows_max:
                break
        await self.save([rows for rows in builds if rows.reached > rows.progress])

    async def save(self, builds: Sequence[BuildRows]) -> None:
        """Saves all that waits in the builds as one, and then tells those who watch.

        Raises:
            StoreUnavailableError: Nothing was saved; the builds are to be forgotten.
            ProgressMovedError: Nothing was saved; the builds are to be forgotten.
        """
        if not builds:
            return
        batches = [rows.batch() for rows in builds]
        told: list[BusMessage] = []
        for rows, batch in zip(builds, batches, strict=True):
            messages = _messages(batch, rows_told=rows.watched)
            self._unpublished[batch.build_id] = messages
            told += messages
        await self._store.save(batches)
        for rows, batch in zip(builds, batches, strict=True):
            rows.saved()
            if _log.isEnabledFor(logging.DEBUG):
                _tell(batch)
        await self._bus.publish("changes", self.partition, told)
        for rows in builds:
            self._unpublished.pop(rows.build_id, None)

    async def load(self, builds: Iterable[tuple[BuildRows, Touched]]) -> None:
        """Brings the rows that events touch into memory, for each build.

        Raises:
            StoreUnavailableError: Some were not loaded.
        """
        absent = [(rows, rows.absent(touched)) for rows, touched in builds]
        loads = [rows.load(self._store, keys) for rows, keys in absent if keys]
        if len(loads) == 1:
            await loads[0]
        elif loads:
            await asyncio.gather(*loads)

    async def _read(self, after: int, last: int, stride: Stride) -> Page | None:
        """Returns the next page; None at the end."""
        limit = min(stride.read_entries_max, last - after)
        if limit <= 0:
            return None
        records = await self.tail.read_encoded(self.partition, after=after, limit=limit)
        return Page(after, records) if records else None

    async def _fold_and_read(
        self,
        builds: Sequence[BuildRows],
        page: Page,
        reading: Coroutine[None, None, Page | None],
    ) -> Page | None:
        """Folds one page while the next one is read from the store."""
        following = asyncio.create_task(reading)
        try:
            await self._fold(builds, page)
            return await following
        finally:
            following.cancel()

    async def _fold(self, builds: Sequence[BuildRows], page: Page) -> None:
        quick = [rows for rows in builds if not rows.careful]
        passes = [rows.begin() for rows in quick]
        if quick:
            fold_page(page.records, page.after, passes)
        left: list[tuple[BuildRows, Touched]] = []
        for rows, one in zip(quick, passes, strict=True):
            if one.failed:
                rows.undo()
            else:
                left.append((rows, one.held))
        await self._load_and_fold(left, page.last)
        for group in by_place(rows for rows in builds if rows.reached < page.last):
            await self._fold_carefully(group, page.last)
        # A long way behind, others of this process have to get their turn too.
        await asyncio.sleep(0)

    async def _fold_carefully(self, builds: Sequence[BuildRows], through: int) -> None:
        """Folds builds at one place step by step, with entries that say what cannot be decoded."""
        classes = classes_of(rows.view for rows in builds)
        after = builds[0].reached
        while after < through:
            limit = min(through - after, CAREFUL_ENTRIES_MAX)
            entries = await self.tail.read(self.partition, after=after, limit=limit)
            if not entries:
                raise StoreUnavailableError(
                    f"the log ends at {after}, before {through}", cause="log"
                )
            batch = decode(entries, classes)
            after = entries[-1].sequence
            await self._load_and_fold([(rows, rows.key(batch)) for rows in builds], after)
            await asyncio.sleep(0)

    async def _load_and_fold(
        self, builds: Sequence[tuple[BuildRows, Touched]], through: int
    ) -> None:
        await self.load(builds)
        for rows, touched in builds:
            rows.fold(touched, through)


def by_place(builds: Iterable[BuildRows]) -> list[list[BuildRows]]:
    """Groups builds that stand at the same place of the log, furthest behind first."""
    groups: dict[int, list[BuildRows]] = {}
    for rows in builds:
        groups.setdefault(rows.reached, []).append(rows)
    return [groups[place] for place in sorted(groups)]


@asynccontextmanager
async def _held(builds: Iterable[BuildRows]) -> AsyncIterator[None]:
    """Keeps builds from being taken out in the middle of a turn."""
    async with AsyncExitStack() as stack:
        for rows in builds:
            await stack.enter_async_context(rows.lock)
        yield


def _messages(batch: ViewBatch, *, rows_told: bool) -> list[BusMessage]:
    """Returns what those who watch are told of a batch: its rows, and then its place."""
    messages: list[BusMessage] = []
    if rows_told:
        messages += [
            RowChange(batch.build_id, batch.partition, key, row) for key, row in batch.rows.items()
        ]
    after = batch.after if rows_told else batch.through
    messages.append(ProgressChange(batch.build_id, batch.partition, batch.through, after))
    return messages


def _tell(batch: ViewBatch) -> None:
    view, _, build = batch.build_id.rpartition("@")
    logs.write(
        _log,
        logging.DEBUG,
        "projected",
        view=view,
        build=int(build),
        partition=batch.partition,
        sequence=batch.through,
        rows=len(batch.rows),
    )


def _names(builds: Iterable[BuildRows]) -> str:
    return ", ".join(rows.build_id for rows in builds)
