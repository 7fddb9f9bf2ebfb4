"""Where a stream's events stand; promise: bucket k holds what began at versions k*n+1 to (k+1)*n.

A stream is cut into buckets, one Cassandra partition each, so that none grows for ever. An append
of several events is never cut: the bucket in which it begins may hold more than n. Once a bucket's
last version is (k+1)*n or more, it is full, and that never changes: what is learned of full buckets
may be remembered.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.records import GENESIS, Head

_STREAMS_MAX = 10_000
"""Of how many streams with full buckets these are remembered."""


class Bucket(NamedTuple):
    """A bucket, and the head as it stands there: version 0 when nothing does yet."""

    number: int
    head: Head


class Layout(NamedTuple):
    """The buckets of a stream.

    Attributes:
        full: The full ones in order, as far as they were looked at.
        last: The one behind them, which is not full; None when it was not looked at.
    """

    full: tuple[Bucket, ...]
    last: Bucket | None

    @property
    def numbers(self) -> list[int]:
        """The numbers of all of them, in order."""
        buckets = self.full if self.last is None else (*self.full, self.last)
        return [bucket.number for bucket in buckets]

    @property
    def end(self) -> Head:
        """The head of the stream, if the last bucket was looked at."""
        if self.last is not None and self.last.head.version:
            return self.last.head
        return self.full[-1].head if self.full else Head(0, GENESIS)


def _never(bucket: Bucket) -> bool:
    return False


class Buckets:
    """Finds the buckets of streams."""

    def __init__(self, store: CassandraStore) -> None:
        """Reads from an open keyspace."""
        self._session = store.session
        self._tenant = store.tenant
        self._size = store.events_per_bucket
        self._full: OrderedDict[str, tuple[Bucket, ...]] = OrderedDict()
        self._head = (
            f"SELECT head, chain FROM {store.session.table('events')}"
            " WHERE tenant = ? AND stream = ? AND bucket = ? LIMIT 1"
        )

    def number(self, version: int) -> int:
        """Returns in which bucket the append behind `version` begins."""
        return version // self._size

    def is_full(self, bucket: Bucket) -> bool:
        """Tells whether a bucket will never get another event."""
        return self.number(bucket.head.version) > bucket.number

    async def walk(self, stream: str, enough: Callable[[Bucket], bool] = _never) -> Layout:
        """Returns the buckets of a stream, up to the first full one that is `enough`.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        full = self._full.get(stream, ())
        for count, bucket in enumerate(full, 1):
            if enough(bucket):
                return Layout(full[:count], None)
        while True:
            number = self.number(full[-1].head.version) if full else 0
            bucket = Bucket(number, await self._read_head(stream, number))
            if not self.is_full(bucket):
                return Layout(full, bucket)
            full = (*full, bucket)
            self._remember(stream, full)
            if enough(bucket):
                return Layout(full, None)

    async def before(self, stream: str, version: int) -> Layout | None:
        """Returns the full buckets before the one, not the first, where `version` is the head.

        None: the stream does not come to that bucket, or has passed it over.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        number = self.number(version)
        layout = await self.walk(stream, lambda full: self.number(full.head.version) >= number)
        if layout.full and self.number(layout.full[-1].head.version) == number:
            return Layout(layout.full, None)
        return None

    async def holding(self, stream: str, version: int) -> list[int]:
        """Returns the numbers of the buckets up to the one that holds a version, or the last.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        if version <= self._size:
            return [0]
        return (await self.walk(stream, lambda full: full.head.version >= version)).numbers

    async def _read_head(self, stream: str, number: int) -> Head:
        rows = await self._session.read(self._head, (self._tenant, stream, number))
        if not rows or not rows[0][0]:
            return Head(0, GENESIS)
        return Head(*rows[0])

    def _remember(self, stream: str, full: tuple[Bucket, ...]) -> None:
        self._full[stream] = full
        self._full.move_to_end(stream)
        if len(self._full) > _STREAMS_MAX:
            self._full.popitem(last=False)
