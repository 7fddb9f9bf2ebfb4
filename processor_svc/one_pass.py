"""Step 6, quickly: one pass over a page; promise: it makes what `fold` makes, or nothing at all.

Nearly every event can be decoded, keyed and applied, and nearly every row is in memory. Such a page
is folded event by event, into rows that are changed in place. Events of rows that are not in
memory, or are parked, are held back for `fold`. A build in which anything fails is to be put back
to what was saved: the steps one by one know what to park.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any

from google.protobuf.message import DecodeError

from eventspine.domain.fold import FoldEntry, Touched, check_key, new_row
from eventspine.domain.view import Key, View, ViewEvent
from processor_svc.decode import Parsers, decode_records
from processor_svc.row_cache import CachedRow, RowCache

CHUNK = 100
"""How many events are decoded before they are folded: few enough for the processor's caches."""


class Pass:
    """One build, on its way through one page of the log.

    Attributes:
        parsers: What decodes the events that it folds.
        held: By key, the entries of rows that are not in memory or are parked, for `fold`.
        failed: Whether something could not be folded. Then the rows are anything until they are
            put back.
    """

    __slots__ = ("_cache", "_fresh", "_parked", "_view", "failed", "held", "parsers")

    def __init__(
        self,
        view: View[Any],
        parsers: Parsers,
        cache: RowCache,
        parked: AbstractSet[Key],
        *,
        fresh: bool,
    ) -> None:
        """Folds into rows in memory.

        Args:
            view: The code of the build.
            parsers: What decodes the events that it folds.
            cache: The rows. Nothing was parked since they were last saved.
            parked: The keys whose events have to wait.
            fresh: Whether a row that is not in memory does not exist.
        """
        self._view = view
        self.parsers = parsers
        self._cache = cache
        self._parked = parked
        self._fresh = fresh
        self.held: Touched = {}
        self.failed = False

    def fold(self, first: int, events: Iterable[ViewEvent | None]) -> None:
        """Folds events that follow on those before.

        Args:
            first: The sequence of the first one.
            events: One for each sequence; None for those that are not to be folded.
        """
        try:
            self._fold(first, events)
        except Exception:
            # Whatever it is, the steps one by one meet it again and tell of it.
            self.failed = True

    def _fold(self, first: int, events: Iterable[ViewEvent | None]) -> None:
        folding_of, row_class, begin = self._view.foldings.get, self._view.row, self._begin
        row_of, stride = self._cache.rows.get, self._cache.stride
        for sequence, event in enumerate(events, first):
            if event is None:
                continue
            folding = folding_of(type(event.data))
            if folding is None:
                continue
            for key in folding[0](event):
                cached = row_of(key)
                if cached is None or cached.stride != stride:
                    cached = begin(key, cached, sequence, event)
                if cached is None or sequence <= cached.sequence:
                    # It is held, or was folded before, or the event names the key twice.
                    continue
                row = cached.row
                row = folding[1](new_row(row_class, key) if row is None else row, event)
                if type(row) is not row_class and row is not None:
                    raise TypeError("no row")
                cached.row = row
                cached.sequence = sequence

    def _begin(
        self, key: Key, cached: CachedRow | None, sequence: int, event: ViewEvent
    ) -> CachedRow | None:
        """Returns a row that has not been changed since the save; None: not for this event now."""
        if cached is not None and sequence <= cached.sequence:
            return None
        if key in self._parked or (cached is None and not self._fresh):
            self._hold(key, sequence, event)
            return None
        if cached is None:
            check_key(self._view.row, key)
        return self._cache.change(key)

    def _hold(self, key: Key, sequence: int, event: ViewEvent) -> None:
        entry = FoldEntry(sequence, event)
        group = self.held.get(key)
        if group is None:
            check_key(self._view.row, key)
            self.held[key] = [entry]
        elif sequence > group[-1].sequence:
            group.append(entry)


def fold_page(records: Sequence[bytes], after: int, passes: Sequence[Pass]) -> None:
    """Folds a page of the log into builds; look at `failed` and `held` of each afterwards.

    Args:
        records: The encoded records of the sequences from `after` + 1 on.
        after: The place in the log partition where all the builds are.
        passes: The builds, each of which has not been through anything.
    """
    parsers = dict(chain.from_iterable(one.parsers.items() for one in passes))
    for first in range(0, len(records), CHUNK):
        try:
            events = decode_records(records[first : first + CHUNK], parsers)
        except DecodeError:
            for one in passes:
                one.failed = True
            return
        for one in passes:
            if not one.failed:
                one.fold(after + first + 1, events)
