"""Step 6: the rows in memory of one build in one log partition, and what they were when saved.

Promise: between two saves each row is copied at most once, when it is first changed, so that all of
them can be put back to what was saved.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from google.protobuf.message import Message

from eventspine.domain.view import Key

_UNCHANGED = -1


class CachedRow:
    """A row in memory.

    Attributes:
        row: The row; None: there is none.
        sequence: The last sequence folded into it, also into one deleted since; 0 for none.
        stride: The stride of the cache in which it was last changed; -1 for none.
    """

    __slots__ = ("row", "sequence", "stride")

    def __init__(self, row: Any, sequence: int, stride: int = _UNCHANGED) -> None:
        """Takes a row as it is."""
        self.row = row
        self.sequence = sequence
        self.stride = stride


class _Saved(NamedTuple):
    """What a row was when the build was last saved; it is never changed."""

    row: Any
    sequence: int


class RowCache:
    """Rows in memory.

    Attributes:
        rows: All of them, by key.
        changed: By key, in the order in which they were first changed, those that differ from what
            is saved, with what they were; None: they were not in memory.
        stride: Counts the saves. A row of this stride is in `changed`, and may be changed in place.
    """

    __slots__ = ("_row_class", "changed", "rows", "stride")

    def __init__(self, row_class: type[Message]) -> None:
        """Starts without rows, which are of one class."""
        self._row_class = row_class
        self.rows: dict[Key, CachedRow] = {}
        self.changed: dict[Key, _Saved | None] = {}
        self.stride = 0

    def clear(self) -> None:
        """Drops all rows."""
        self.rows.clear()
        self.changed.clear()
        self.stride += 1

    def hold(self, key: Key, row: Any, sequence: int) -> None:
        """Takes in a row as it is saved, with the last sequence folded into it."""
        self.rows[key] = CachedRow(row, sequence)

    def change(self, key: Key) -> CachedRow:
        """Returns a row to be changed in place; a new one, without a row, if it is not there."""
        cached = self._changing(key)
        if cached.stride != self.stride:
            cached.stride = self.stride
            if cached.row is not None:
                saved, cached.row = cached.row, self._row_class()
                cached.row.CopyFrom(saved)
        return cached

    def replace(self, key: Key, row: Any, sequence: int) -> None:
        """Puts another row in the place of one that is there or not."""
        cached = self._changing(key)
        cached.row, cached.sequence, cached.stride = row, sequence, self.stride

    def undo(self) -> None:
        """Puts all rows back to what was saved."""
        for key, saved in self.changed.items():
            if saved is None:
                del self.rows[key]
            else:
                self.rows[key] = CachedRow(*saved)
        self.changed.clear()
        self.stride += 1

    def saved(self, rows_max: int) -> None:
        """Notes that all is saved, and keeps as many rows as there may be, about."""
        if len(self.rows) > rows_max:
            # What was touched last is likeliest to be touched again.
            kept = list(self.changed)[-rows_max // 2 :]
            self.rows = {key: self.rows[key] for key in kept}
        self.changed.clear()
        self.stride += 1

    def known(self, keys: Iterable[Key]) -> dict[Key, CachedRow]:
        """Returns those of the rows that are in memory."""
        rows = self.rows
        return {key: rows[key] for key in keys if key in rows}

    def _changing(self, key: Key) -> CachedRow:
        cached = self.rows.get(key)
        if cached is None:
            self.changed[key] = None
            cached = self.rows[key] = CachedRow(None, 0, self.stride)
        elif cached.stride != self.stride:
            self.changed[key] = _Saved(cached.row, cached.sequence)
        return cached
