"""Rows of one view's table; promise: of two writes to a partial row, the later sequence wins.

Every write carries its sequence as its timestamp. So what a process writes that has been replaced
meanwhile loses against newer rows, and folding the same events again changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import chain, groupby
from operator import itemgetter

from eventspine.domain.view import Key
from eventspine.storage.cassandra.batches import batched
from eventspine.storage.cassandra.session import CassandraSession, Row
from eventspine.storage.cassandra.view_tables import Column, ViewTable
from eventspine.storage.keys import decode_key, encode_key
from eventspine.storage.records import KeyedRow, PartialRow

PAGE_ROWS = 500

_LOAD_ROWS = 100
"""How many rows of one Cassandra partition are loaded by one query."""

_ROW_BYTES = 60
"""What a row takes beside its key and its encoding, about."""


class CassandraRows:
    """Reads and writes the rows of one view, of one tenant's builds."""

    def __init__(self, session: CassandraSession, tenant: str, table: ViewTable) -> None:
        """Uses the table, which must be there."""
        self.table = table
        self._session = session
        self._tenant = tenant
        name = session.table(table.name)
        columns = [f'"{column.name}"' for column in table.columns]
        listed = ", ".join(["tenant", "build", *columns, "log_partition", "sequence", "encoded"])
        marks = ", ".join("?" * (len(columns) + 5))
        self._insert = f"INSERT INTO {name} ({listed}) VALUES ({marks}) USING TIMESTAMP ?"
        partition = _equal(["tenant", "build"], table.partition)
        whole = _equal(["tenant", "build"], table.columns)
        partial = "log_partition, sequence, encoded"
        self._get = f"SELECT {partial} FROM {name} WHERE {whole}"
        self._load = f"SELECT sequence, encoded FROM {name} WHERE {whole} AND log_partition = ?"
        self._order = [f'"{column.name}"' for column in table.order]
        order = "".join(f"{column}, " for column in self._order)
        self._load_some = (
            f"SELECT {order}sequence, encoded FROM {name} WHERE {partition}"
            f" AND {_tuple([*self._order, 'log_partition'])} IN ?"
        )
        self._scan = f"SELECT {order}{partial} FROM {name} WHERE {partition}"
        self._delete = f"DELETE FROM {name} WHERE {partition}"

    async def write(self, number: int, rows: Iterable[tuple[bytes, PartialRow]]) -> None:
        """Writes partial rows by their keys; they may come twice, or late.

        Raises:
            StoreUnavailableError: Not all were written.
            OutcomeUnknownError: Not all were written, perhaps.
        """
        insert, place = self._insert, (self._tenant, number)
        writes = [
            self._session.write(
                *[(insert, (*place, *decode_key(key), *row, row.sequence)) for key, row in batch]
            )
            for batch in batched(rows, _size)
        ]
        await asyncio.gather(*writes)

    async def load(
        self, number: int, log_partition: int, keys: Sequence[bytes]
    ) -> dict[bytes, PartialRow]:
        """Returns the partials of one log partition that exist, by key, deleted ones included.

        Rows of one Cassandra partition are asked for together: those that one stream's events make
        mostly are of one.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        alike: dict[Key, list[Key]] = {}
        for key in keys:
            partition, order = self.table.split(key)
            alike.setdefault(partition, []).append(order)
        loads = [
            self._partials(number, partition, orders[first : first + _LOAD_ROWS], log_partition)
            for partition, orders in alike.items()
            for first in range(0, len(orders), _LOAD_ROWS)
        ]
        return dict(chain.from_iterable(await asyncio.gather(*loads)))

    async def get(self, number: int, key: bytes) -> tuple[PartialRow, ...]:
        """Returns the partials of one row that exist and are not deleted.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        rows = await self._session.read(self._get, self._place(number, key))
        return _living(rows)

    async def scan(
        self, number: int, partition_key: bytes, *, prefix: bytes, after: bytes, rows_max: int
    ) -> AsyncIterator[KeyedRow]:
        """Iterates over the rows of one Cassandra partition, in order of the key.

        Args:
            number: The build's number.
            partition_key: The encoded key values that choose the Cassandra partition.
            prefix: The encoded leading key values that all rows have, fewer or more than those.
            after: The encoded key that all rows are above; empty for all rows.
            rows_max: How many rows may be wanted.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        partition, _ = self.table.split(partition_key)
        where, bounds = self._bounds(prefix, after)
        values = (self._tenant, number, *partition, *bounds)
        width = len(self._order)
        pages = self._session.pages(
            f"{self._scan}{where}", values, rows_max=min(rows_max, PAGE_ROWS)
        )
        held: list[Row] = []
        async for page in pages:
            held += page
            groups = [list(group) for _, group in groupby(held, lambda row: row[:width])]
            # The last key's partials may go on in the next page.
            held = groups.pop()
            for group in groups:
                for keyed in _keyed(partition, width, group):
                    yield keyed
        for keyed in _keyed(partition, width, held):
            yield keyed

    async def delete(self, number: int, partition_keys: Iterable[bytes]) -> None:
        """Deletes whole Cassandra partitions; nothing can be written there any more.

        Raises:
            StoreUnavailableError: Not all were deleted.
            OutcomeUnknownError: Not all were deleted, perhaps.
        """
        writes = [
            self._session.write((self._delete, (self._tenant, number, *self.table.split(key)[0])))
            for key in partition_keys
        ]
        await asyncio.gather(*writes)

    async def _partials(
        self, number: int, partition: Key, orders: Sequence[Key], log_partition: int
    ) -> list[tuple[bytes, PartialRow]]:
        """Loads rows of one Cassandra partition."""
        place = (self._tenant, number, *partition)
        if len(orders) == 1:
            rows = await self._session.read(self._load, (*place, *orders[0], log_partition))
            found = [(*orders[0], *row) for row in rows]
        else:
            wanted = [(*order, log_partition) for order in orders]
            found = await self._session.read(self._load_some, (*place, wanted))
        return [
            (encode_key((*partition, *row[:-2])), PartialRow(log_partition, *row[-2:]))
            for row in found
        ]

    def _place(self, number: int, key: bytes) -> tuple[object, ...]:
        partition, order = self.table.split(key)
        return (self._tenant, number, *partition, *order)

    def _bounds(self, prefix: bytes, after: bytes) -> tuple[str, Key]:
        """Returns the conditions on the order columns, and the values for them."""
        equal = self.table.split(prefix)[1]
        above = self.table.split(after)[1] if after else ()
        if not above:
            return "".join(f" AND {name} = ?" for name in self._order[: len(equal)]), equal
        # A column that is compared as one of several cannot be compared alone too.
        sign = ">" if len(above) == len(self._order) else ">="
        where = f" AND {_tuple(self._order[: len(above)])} {sign} {_marks(len(above))}"
        if equal:
            where += f" AND {_tuple(self._order[: len(equal)])} <= {_marks(len(equal))}"
        return where, (*above, *equal)


def _size(row: tuple[bytes, PartialRow]) -> int:
    return _ROW_BYTES + len(row[0]) + len(row[1].encoded or b"")


def _equal(names: Sequence[str], columns: Iterable[Column]) -> str:
    quoted = [f'"{column.name}"' for column in columns]
    return " AND ".join(f"{name} = ?" for name in (*names, *quoted))


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(names)})"


def _marks(count: int) -> str:
    return f"({', '.join('?' * count)})"


def _living(rows: Iterable[Row]) -> tuple[PartialRow, ...]:
    return tuple([PartialRow._make(row) for row in rows if row[2] is not None])


def _keyed(partition: Key, width: int, group: Sequence[Row]) -> list[KeyedRow]:
    """Returns the row that the partials of one key make; none where all are deleted."""
    if not group:
        return []
    partials = _living(map(itemgetter(slice(width, None)), group))
    if not partials:
        return []
    return [KeyedRow(encode_key((*partition, *group[0][:width])), partials)]
