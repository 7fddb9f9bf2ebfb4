"""The partition keys of builds, in order; promise: every row that counts is found through them.

Cassandra lists partitions in no order that a reader wants, so each build has an index of its
partition keys. It is spread over shards, each in order, and a list merges them.
"""

import asyncio
import zlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from heapq import heapify, heappop, heapreplace

from eventspine.storage.cassandra.batches import batched
from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.cassandra.view_tables import SHARDS

_KNOWN_MAX = 200_000
"""How many keys this process remembers to have written, so that it does not write them again."""

_BATCH_KEYS = 100

_ROW_BYTES = 40
"""What a row takes beside its key, about."""

_PAGE_KEYS_MIN = 16
_PAGE_KEYS_MAX = 1_000


class CassandraKeys:
    """The index of partition keys of one tenant's builds."""

    def __init__(self, session: CassandraSession, tenant: str) -> None:
        """Keeps it in an open keyspace."""
        self._session = session
        self._tenant = tenant
        self._known: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        table = session.table("view_keys")
        self._insert = f"INSERT INTO {table} (tenant, build, shard, key) VALUES (?, ?, ?, ?)"
        part = f"FROM {table} WHERE tenant = ? AND build = ? AND shard = ?"
        self._from = f"SELECT key {part} AND key >= ?"
        self._between = f"{self._from} AND key < ?"
        self._delete = f"DELETE {part}"

    def unknown(self, build_id: str, keys: Iterable[bytes]) -> list[bytes]:
        """Returns those keys that this process does not remember to be in the index."""
        known = self._known
        return [key for key in keys if (build_id, key) not in known]

    def remember(self, build_id: str, keys: Iterable[bytes]) -> None:
        """Notes that keys are in the index; the ones noted first are forgotten first."""
        known = self._known
        for key in keys:
            known[build_id, key] = None
        while len(known) > _KNOWN_MAX:
            known.popitem(last=False)

    async def write(self, build_id: str, keys: Iterable[bytes]) -> None:
        """Puts keys into the index; again is harmless.

        Raises:
            StoreUnavailableError: Not all were put.
            OutcomeUnknownError: Not all were put, perhaps.
        """
        shards: dict[int, list[bytes]] = {}
        for key in keys:
            shards.setdefault(zlib.crc32(key) % SHARDS, []).append(key)
        writes = []
        for shard, own in shards.items():
            for part in batched(own, _size, rows_max=_BATCH_KEYS):
                parts = [(self._insert, (self._tenant, build_id, shard, key)) for key in part]
                writes.append(self._session.write(*parts))
        await asyncio.gather(*writes)

    async def between(
        self, build_id: str, first: bytes, end: bytes | None, *, keys_max: int
    ) -> AsyncIterator[bytes]:
        """Iterates over the keys from `first` on and below `end`, in order.

        Args:
            build_id: The build.
            first: The least key that may come.
            end: The least key that does not come any more; None for no end.
            keys_max: How many keys may be wanted.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        rows_max = min(max(keys_max // SHARDS * 2, _PAGE_KEYS_MIN), _PAGE_KEYS_MAX)
        shards = [_Shard(self._read(build_id, n, first, end, rows_max)) for n in range(SHARDS)]
        await asyncio.gather(*[shard.fill() for shard in shards])
        heap = [(shard.keys[-1], place) for place, shard in enumerate(shards) if shard.keys]
        heapify(heap)
        while heap:
            key, place = heap[0]
            yield key
            keys = shards[place].keys
            keys.pop()
            if not keys:
                await shards[place].fill()
            if keys:
                heapreplace(heap, (keys[-1], place))
            else:
                heappop(heap)

    async def shard(self, build_id: str, shard: int) -> AsyncIterator[Sequence[bytes]]:
        """Iterates over parts of one shard of a build's index.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        async for page in self._read(build_id, shard, b"", None, _PAGE_KEYS_MAX):
            yield page

    async def delete(self, build_id: str, shard: int) -> None:
        """Deletes one shard of a build's index.

        Raises:
            StoreUnavailableError: It was not deleted.
            OutcomeUnknownError: It may have been.
        """
        await self._session.write((self._delete, (self._tenant, build_id, shard)))

    def forget(self, build_id: str) -> None:
        """Forgets what is remembered of a build."""
        for place in [place for place in self._known if place[0] == build_id]:
            del self._known[place]

    async def _read(
        self, build_id: str, shard: int, first: bytes, end: bytes | None, rows_max: int
    ) -> AsyncIterator[list[bytes]]:
        values: tuple[object, ...] = (self._tenant, build_id, shard, first)
        cql = self._from
        if end is not None:
            cql, values = self._between, (*values, end)
        async for page in self._session.pages(cql, values, rows_max=rows_max):
            yield [key for (key,) in page]


class _Shard:
    """The next keys of one shard, the least one last; empty where the shard ends."""

    def __init__(self, pages: AsyncIterator[list[bytes]]) -> None:
        self.keys: list[bytes] = []
        self._pages = pages

    async def fill(self) -> None:
        """Reads the next page into the empty list."""
        async for page in self._pages:
            self.keys += reversed(page)
            return


def _size(key: bytes) -> int:
    return _ROW_BYTES + len(key)
