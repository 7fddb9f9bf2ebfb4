"""Step 6, quickly: one pass over a page; promise: it makes what `fold` makes, or nothing at all.

Nearly every event can be decoded, keyed and applied, and nearly every row is in memory. Such a page
is folded event by event, with little kept between decoding and the row, in about three quarters of
the time that `decode`, `keys_of` and `fold` take one after the other. Events of rows that are not
in memory, or are parked, are held back for `fold`. A build in which anything fails is put back to
where the page began: the steps one by one know what to park.
"""

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any

from google.protobuf.message import DecodeError, Message

from eventspine.domain.fold import FoldEntry, Touched, check_key, new_row
from eventspine.domain.view import Key, View, ViewEvent
from processor_svc.decode import decode_records

CHUNK = 100
"""How many events are decoded before they are folded: few enough for the processor's caches."""


class Pass:
    """One build, on its way through one page of the log.

    Attributes:
        classes: The classes of the events that it folds, by full name.
        held: By key, the entries of rows that are not in memory or are parked, for `fold`.
        failed: Whether something could not be folded. Then nothing of the page was.
    """

    __slots__ = (
        "_before",
        "_fresh",
        "_parked",
        "_rows",
        "_seen",
        "_view",
        "classes",
        "failed",
        "held",
    )

    def __init__(
        self,
        view: View[Any],
        classes: Mapping[str, type[Message]],
        rows: MutableMapping[Key, Any],
        seen: MutableMapping[Key, int],
        parked: AbstractSet[Key],
        *,
        fresh: bool,
    ) -> None:
        """Folds into rows in memory; rows that are there already are copied, never changed.

        Args:
            view: The code of the build.
            classes: The classes of the events that it folds, by full name.
            rows: The rows by key; a missing one and None both mean that there is none.
            seen: By key, the last sequence folded into the row; missing: it is not in memory.
            parked: The keys whose events have to wait.
            fresh: Whether a row that is not in memory does not exist.
        """
        self._view = view
        self.classes = classes
        self._rows = rows
        self._seen = seen
        self._parked = parked
        self._fresh = fresh
        # The rows before the page, and the last sequence folded into each; None for a new one.
        self._before: dict[Key, tuple[int | None, Any]] = {}
        self.held: Touched = {}
        self.failed = False

    @property
    def changed(self) -> Iterable[Key]:
        """The keys of the rows that were folded, in the order in which they were first touched."""
        return self._before

    def fold(self, events: Sequence[FoldEntry]) -> None:
        """Folds events that follow on those before; undoes all when one of them fails."""
        try:
            self._fold(events)
        except Exception:
            # Whatever it is, the steps one by one meet it again and tell of it.
            self.undo()

    def undo(self) -> None:
        """Puts all rows back to where the page began."""
        for key, (last, row) in self._before.items():
            if last is None:
                self._rows.pop(key, None)
                self._seen.pop(key, None)
            else:
                self._rows[key] = row
                self._seen[key] = last
        self._before.clear()
        self.held.clear()
        self.failed = True

    def _fold(self, events: Sequence[FoldEntry]) -> None:
        folding_of, row_class, begin = self._view.foldings.get, self._view.row, self._begin
        rows, seen, before = self._rows, self._seen, self._before
        for sequence, event in events:
            folding = folding_of(type(event[0]))
            if folding is None:
                continue
            for key in folding[0](event):
                if key not in before:
                    if not begin(key, sequence, event):
                        continue
                elif sequence <= seen[key]:
                    # The event names the key twice.
                    continue
                row = rows.get(key)
                row = folding[1](new_row(row_class, key) if row is None else row, event)
                if type(row) is not row_class and row is not None:
                    raise TypeError("no row")
                rows[key] = row
                seen[key] = sequence

    def _begin(self, key: Key, sequence: int, event: ViewEvent) -> bool:
        """Makes a row ready that the page has not touched; False when the event is not for now."""
        last = self._seen.get(key)
        if last is not None and sequence <= last:
            # It was folded before.
            return False
        if key in self._parked or (last is None and not self._fresh):
            self._hold(key, sequence, event)
            return False
        if last is None:
            check_key(self._view.row, key)
        row = self._rows.get(key)
        self._before[key] = (last, row)
        if row is not None:
            mine = self._rows[key] = self._view.row()
            mine.CopyFrom(row)
        return True

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
    classes = dict(chain.from_iterable(one.classes.items() for one in passes))
    for first in range(0, len(records), CHUNK):
        try:
            events = decode_records(records[first : first + CHUNK], after + first, classes)
        except DecodeError:
            for one in passes:
                one.undo()
            return
        for one in passes:
            if not one.failed:
                one.fold(events)
