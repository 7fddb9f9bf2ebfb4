"""Step 6: the rows of one build in one log partition, as they are folded and wait to be saved.

Promise: what a save holds is exactly what the events up to its place have made, and nothing of it
is lost or counted twice when the save fails: then all is forgotten and read again from the store.
"""

import asyncio
import logging
from bisect import insort
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from google.protobuf.message import Message

from eventspine.domain.fold import FoldEntry, Keyed, Touched, fold, keys_of
from eventspine.domain.view import Key, View
from eventspine.storage.keys import decode_key, encode_key
from eventspine.storage.ports import ViewRegistry, ViewStore
from eventspine.storage.records import Parked, PartialRow, ViewBatch
from processor_svc.decode import Decoded, classes_of, parsers_of
from processor_svc.one_pass import Pass
from processor_svc.rest import Rest
from processor_svc.row_cache import RowCache

ROWS_MAX = 50_000
"""How many rows of a build and partition stay in memory after they were saved."""

NO_KEY = b""
"""The key under which events are parked whose own keys cannot be known."""

PARKED_MAX = 100_000
"""How many keys of a build and partition may be parked, at about 1 KB of memory each."""

WAITING_MAX = 1_000
"""How many waiting events are remembered for a key; all are written when one is added."""

TOO_MANY = "and more events have no key than are remembered; build the view anew and switch"

ERROR_CHARACTERS_MAX = 1_000
"""How much is kept of what an exception says."""

LOGGED_MAX = 100
"""How many parked keys of a build and partition are logged one by one; all are listed."""

_log = logging.getLogger("eventspine.park")


class TooManyParkedError(Exception):
    """A build would have to park more keys than it may. Nothing since the last save was kept."""


class Misfit(NamedTuple):
    """An event that cannot be folded, and why, for people."""

    sequence: int
    stream: str
    stream_version: int
    error: str


def misfits(view: View[Any], batch: Decoded, keyed: Keyed) -> list[Misfit]:
    """Returns the events of a batch of which the view cannot say which rows they touch."""
    folded = {event.DESCRIPTOR.full_name for event in view.foldings}
    broken = [
        Misfit(entry.sequence, entry.stream, entry.stream_version, error)
        for entry, error in batch.broken
        if entry.type in folded
    ]
    unkeyed = [
        Misfit(sequence, event.stream, event.stream_version, error)
        for (sequence, event), error in keyed.failures
    ]
    return sorted(broken + unkeyed)


class BuildRows:
    """One build in one partition. Only one task at a time may fold it: the one that holds `lock`.

    Attributes:
        build_id: The build, `<view>@<number>`.
        view: The code that folds it.
        partition: The log partition.
        progress: The place in the log that is saved.
        reached: The place in the log that is folded, `progress` or later.
        opened: Whether the rows know where they are; else `open` is to be called.
        active: Whether these are the rows to fold; not once they were taken out, for a pause, a
            comparison or for good.
        watched: Whether changes of rows are published; not for a build that never served yet.
        lock: Held during a turn, and by whoever takes the rows out.
        rest: Begun when a turn could not be taken to its end.
    """

    def __init__(
        self,
        build_id: str,
        partition: int,
        view: View[Any],
        *,
        now_us: Callable[[], int],
        rows_max: int = ROWS_MAX,
        parked_max: int = PARKED_MAX,
    ) -> None:
        """Starts without anything in memory; `open` finds out where the build is.

        Args:
            build_id: The build, `<view>@<number>`.
            partition: The log partition.
            view: The code that folds it.
            now_us: The clock, for parked keys.
            rows_max: How many rows stay in memory after they were saved.
            parked_max: How many keys may be parked.
        """
        self.build_id = build_id
        self.view = view
        self.partition = partition
        self.progress = 0
        self.reached = 0
        self.opened = False
        self.active = True
        self.watched = True
        self.lock = asyncio.Lock()
        self.rest = Rest()
        self._parsers = parsers_of(classes_of([view]))
        self._now_us = now_us
        self._rows_max = rows_max
        self._parked_max = parked_max
        self._cache = RowCache(view.row)
        self._undone = False
        self._parked: dict[bytes, Parked] = {}
        self._waiting: dict[bytes, list[int]] = {}
        self._parked_keys: set[Key] = set()
        self._parked_changed: set[bytes] = set()

    @property
    def changed_rows(self) -> int:
        """How many rows wait to be saved."""
        return len(self._cache.changed)

    @property
    def careful(self) -> bool:
        """Whether a pass will not do until the next save, because something was parked or failed.

        What is parked cannot be undone with the rows, and what failed would fail again.
        """
        return self._undone or bool(self._parked_changed)

    async def open(self, store: ViewStore, registry: ViewRegistry) -> None:
        """Reads where the build is and what it has parked; rows follow when they are needed.

        Raises:
            StoreUnavailableError: Nothing was read.
        """
        progress = await store.progress(self.build_id)
        parked = await registry.parked(self.build_id)
        self.forget()
        self.progress = progress[self.partition] if self.partition < len(progress) else 0
        self.reached = self.progress
        self._parked = {one.key: one for one in parked if one.partition == self.partition}
        self._waiting = {key: list(one.waiting) for key, one in self._parked.items()}
        self._parked_keys = {decode_key(key) for key in self._parked if key != NO_KEY}
        self.opened = True

    def forget(self) -> None:
        """Drops all that is in memory, folded but not saved included."""
        self.opened = False
        self.reached = self.progress
        self._cache.clear()
        self._undone = False
        self._parked.clear()
        self._waiting.clear()
        self._parked_keys.clear()
        self._parked_changed.clear()

    def begin(self) -> Pass:
        """Returns the build for a quick pass through the page that follows `reached`.

        The build must not be `careful`. What the pass holds back is left to `fold`; if it fails,
        `undo` it.
        """
        fresh = not self.progress
        return Pass(self.view, self._parsers, self._cache, self._parked_keys, fresh=fresh)

    def undo(self) -> None:
        """Puts all back to what was saved, where the build then is; it is `careful` from there."""
        self._cache.undo()
        self._undone = True
        self.reached = self.progress

    def key(self, batch: Decoded) -> Touched:
        """Asks the view which rows the events touch; parks the events of which it cannot say."""
        keyed = keys_of(self.view, batch.events, self._cache.rows)
        if batch.broken or keyed.failures:
            for misfit in misfits(self.view, batch, keyed):
                self.park(NO_KEY, misfit)
        return keyed.touched

    def absent(self, touched: Iterable[Key]) -> dict[bytes, Key]:
        """Returns the keys that have to be loaded before they can be folded.

        A build that has not saved yet has none: whatever an earlier attempt may have left in the
        store is made again from the first event on, and then replaced.
        """
        if not self.progress:
            return {}
        rows = self._cache.rows
        return {encode_key(key): key for key in touched if key not in rows}

    async def load(self, store: ViewStore, absent: dict[bytes, Key]) -> None:
        """Brings rows into memory.

        Raises:
            StoreUnavailableError: Nothing was loaded.
        """
        if not absent:
            return
        partials = await store.load(self.build_id, self.partition, list(absent))
        parse = self.view.row.FromString
        for encoded, key in absent.items():
            partial = partials.get(encoded, PartialRow(self.partition, 0, None))
            row = None if partial.encoded is None else parse(partial.encoded)
            self._cache.hold(key, row, partial.sequence)

    def fold(self, touched: Touched, through: int) -> None:
        """Folds events whose rows are in memory; afterwards the build has reached `through`."""
        known = self._cache.known(touched)
        rows = {key: cached.row for key, cached in known.items()}
        seen = {key: cached.sequence for key, cached in known.items()}
        folded = fold(self.view, self.view.row, touched, rows, seen, self._parked_keys)
        for key, sequence in folded.last_sequence.items():
            self._cache.replace(key, folded.rows[key], sequence)
        for failure in folded.failures:
            self.park(encode_key(failure.key), Misfit(*failure[1:]))
        for key, sequence in folded.waiting:
            self.wait(encode_key(key), sequence)
        self.reached = max(self.reached, through)

    def parked_keys(self) -> list[bytes]:
        """Returns the encoded keys that are parked, in order."""
        return sorted(self._parked)

    def is_parked(self, key: bytes) -> bool:
        """Tells whether an encoded key is parked."""
        return key in self._parked

    def waiting(self, key: bytes) -> tuple[int, ...]:
        """Returns the sequences that are remembered to wait on a key, in order."""
        return tuple(self._waiting.get(key, ()))

    def is_full(self, key: bytes) -> bool:
        """Tells whether no more is remembered to wait on a parked key.

        Then every later event that touches the key waits too.
        """
        return len(self._waiting.get(key, ())) >= WAITING_MAX

    def release(self, key: bytes) -> tuple[int, ...]:
        """Lets a parked key go and returns what `waiting` did, to be folded next.

        Raises:
            KeyError: It is not parked.
        """
        del self._parked[key]
        self._parked_changed.add(key)
        if key != NO_KEY:
            self._parked_keys.discard(decode_key(key))
        return tuple(self._waiting.pop(key))

    def late(self, touched: Touched) -> dict[int, FoldEntry]:
        """Returns the entries, by sequence, of which a row holds a later one already.

        The rows must be in memory.
        """
        return {
            entry.sequence: entry
            for key, cached in self._cache.known(touched).items()
            for entry in touched[key]
            if cached.sequence >= entry.sequence
        }

    def park(self, key: bytes, misfit: Misfit) -> None:
        """Parks a key with the event that cannot be folded into its row.

        Raises:
            TooManyParkedError: As many keys are parked as may be.
        """
        if key in self._parked:
            self.wait(key, misfit.sequence)
            return
        if len(self._parked) >= self._parked_max:
            raise TooManyParkedError(
                f"{self._parked_max:,} keys of partition {self.partition} are parked, and version"
                f" {misfit.stream_version} of stream {misfit.stream} cannot be applied either:"
                f" {misfit.error[:ERROR_CHARACTERS_MAX]}; mend the view's code, then let the parked"
                " keys be tried again, or build the view anew and switch"
            )
        if key != NO_KEY:
            self._parked_keys.add(decode_key(key))
        if len(self._parked) < LOGGED_MAX:
            _log.warning(
                "%s parks key %s: version %d of stream %s cannot be applied: %s",
                *(self.build_id, decode_key(key), misfit.stream_version, misfit.stream),
                misfit.error[:ERROR_CHARACTERS_MAX],
            )
        self._waiting[key] = [misfit.sequence]
        self._parked_changed.add(key)
        self._parked[key] = Parked(
            key=key,
            partition=self.partition,
            sequence=misfit.sequence,
            stream=misfit.stream,
            stream_version=misfit.stream_version,
            error=misfit.error[:ERROR_CHARACTERS_MAX],
            waiting=(),
            parked_time_us=self._now_us(),
        )

    def wait(self, key: bytes, sequence: int) -> None:
        """Lets an event wait on a parked key, in order, as long as `WAITING_MAX` are not there."""
        waiting = self._waiting[key]
        if sequence > waiting[-1]:
            if self.is_full(key):
                return
            waiting.append(sequence)
        elif sequence not in waiting:
            insort(waiting, sequence)
            del waiting[WAITING_MAX:]
        self._parked_changed.add(key)
        if key == NO_KEY and self.is_full(key):
            parked = self._parked[key]
            if not parked.error.endswith(TOO_MANY):
                self._parked[key] = parked._replace(error=f"{parked.error}; {TOO_MANY}")

    def batch(self) -> ViewBatch:
        """Returns all that waits to be saved."""
        held, partition, new = self._cache.rows, self.partition, tuple.__new__
        rows: dict[bytes, PartialRow] = {}
        for key in self._cache.changed:
            cached = held[key]
            row: Message | None = cached.row
            encoded = None if row is None else row.SerializeToString(deterministic=True)
            # Made directly, which is quicker: a view may have a row for each event.
            rows[encode_key(key)] = new(PartialRow, (partition, cached.sequence, encoded))
        parked = {key: self._entry(key) for key in self._parked_changed}
        return ViewBatch(self.build_id, self.partition, self.progress, self.reached, rows, parked)

    def saved(self) -> None:
        """Notes that the last batch is saved, and keeps of its rows what memory allows."""
        self.progress = self.reached
        self._cache.saved(self._rows_max)
        self._undone = False
        self._parked_changed.clear()

    def _entry(self, key: bytes) -> Parked | None:
        parked = self._parked.get(key)
        return None if parked is None else parked._replace(waiting=tuple(self._waiting[key]))
