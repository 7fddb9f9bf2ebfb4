"""Lists of rows in order of their keys; promise: pages follow each other without gaps."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from eventspine.storage.cassandra.view_keys import CassandraKeys
from eventspine.storage.cassandra.view_rows import CassandraRows
from eventspine.storage.keys import after_prefix
from eventspine.storage.records import KeyedRow

_PARTITIONS_AT_ONCE = 8
"""How many Cassandra partitions of several rows each are read at a time."""

_ROWS_AT_ONCE = 250
"""How many Cassandra partitions of one row each are read at a time."""


class Wanted(NamedTuple):
    """A part of a list; see `ViewStore.list`."""

    build_id: str
    number: int
    prefix: bytes
    after: bytes
    limit: int


class CassandraList:
    """Lists what the index of partition keys leads to."""

    def __init__(self, keys: CassandraKeys) -> None:
        """Finds Cassandra partitions by the index."""
        self._keys = keys

    async def read(self, rows: CassandraRows, wanted: Wanted) -> list[KeyedRow]:
        """Reads rows of a build whose key starts with a prefix and is above another key, in order.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        if wanted.after < wanted.prefix:
            wanted = wanted._replace(after=b"")
        if len(rows.table.split(wanted.prefix)[0]) == rows.table.partition_columns:
            return await _partition(rows, rows.table.partition_key(wanted.prefix), wanted)
        at_once = _PARTITIONS_AT_ONCE if rows.table.order else _ROWS_AT_ONCE
        first = max(wanted.prefix, rows.table.partition_key(wanted.after))
        end = after_prefix(wanted.prefix)
        found: list[KeyedRow] = []
        keys: list[bytes] = []
        async for key in self._keys.between(
            wanted.build_id, first, end, keys_max=min(wanted.limit, at_once)
        ):
            keys.append(key)
            if len(keys) >= min(at_once, wanted.limit - len(found)):
                found += await _partitions(rows, keys, wanted)
                keys = []
            if len(found) >= wanted.limit:
                break
        found += await _partitions(rows, keys, wanted)
        return found[: wanted.limit]


async def _partitions(rows: CassandraRows, keys: Sequence[bytes], wanted: Wanted) -> list[KeyedRow]:
    """Reads several Cassandra partitions at once."""
    parts = await asyncio.gather(*[_partition(rows, key, wanted) for key in keys])
    return [row for part in parts for row in part]


async def _partition(rows: CassandraRows, key: bytes, wanted: Wanted) -> list[KeyedRow]:
    """Reads one Cassandra partition, as far as it is wanted."""
    after = wanted.after
    if after and rows.table.partition_key(after) != key:
        if after > key:
            return []
        after = b""
    if after and not rows.table.order:
        return []
    found: list[KeyedRow] = []
    async for row in rows.scan(
        wanted.number, key, prefix=wanted.prefix, after=after, rows_max=wanted.limit
    ):
        found.append(row)
        if len(found) >= wanted.limit:
            break
    return found
