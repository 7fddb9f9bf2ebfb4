"""Many rows by few statements; promise: the same rows as one statement each, at less cost.

Python gives up its lock for each step of a statement and has to get it back. A statement with many
rows is one step, during which the event loop goes on undisturbed.
"""

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

_ROWS_MAX = 128
"""How many rows a statement has at most; its parameters stay far below SQLite's limit."""


class Insert:
    """An insertion of any number of rows, in their order."""

    def __init__(self, table: str, columns: Sequence[str], conflict: str = "") -> None:
        """Prepares statements of 1, 2, 4 ... rows, so that few different ones are compiled.

        Args:
            table: The table.
            columns: The columns that the rows give, in their order.
            conflict: What follows the rows, such as `ON CONFLICT DO UPDATE ...`.
        """
        row = f"({', '.join('?' * len(columns))})"
        start = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        self._statements: dict[int, str] = {}
        count = 1
        while count <= _ROWS_MAX:
            self._statements[count] = f"{start}{', '.join([row] * count)} {conflict}"
            count *= 2

    def run(self, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Inserts rows.

        Raises:
            sqlite3.IntegrityError: One of them is there already; the transaction is to be undone.
        """
        first = 0
        while first < len(rows):
            left = len(rows) - first
            count = min(_ROWS_MAX, 1 << (left.bit_length() - 1))
            values = tuple(chain.from_iterable(rows[first : first + count]))
            connection.execute(self._statements[count], values)
            first += count
