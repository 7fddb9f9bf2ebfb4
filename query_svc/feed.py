"""Batches for subscriptions out of the log; promise: encoded once for all who stand at one place.

Nothing is queued for a subscription: it asks for the next step when its reader has taken the last
one. What a step costs beyond that is one page of entries, bounded in number and bytes, and the step
after it, where the page has that too.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from eventspine.storage.records import LogEntry
from eventspine.storage.tail import LogTail
from eventspine.v1.subscription_pb2 import EventBatch, SubscribeResponse
from query_svc.cursor import LogCursor, encode_log
from query_svc.filter import CompiledFilter
from query_svc.settings import BATCH_BYTES_MAX
from query_svc.splice import field, fitting

Place = tuple[int, ...]
"""For each partition of the log, the last sequence that was looked at."""

PAGE_ENTRIES_MAX = 1_000
PAGE_BYTES_MAX = 4 * BATCH_BYTES_MAX
MEMO_BYTES_MAX = 16 * BATCH_BYTES_MAX

_RECORD_BYTES_GUESS = PAGE_BYTES_MAX // 64
"""How large records are taken to be before any was seen, so that a first page is no surprise."""

_RECORDS = field(EventBatch.DESCRIPTOR.fields_by_name["records"].number)
_BATCH = field(SubscribeResponse.DESCRIPTOR.fields_by_name["batch"].number)


class Step(NamedTuple):
    """The next stretch of one partition.

    Attributes:
        place: Where it ends.
        looked_at: How many events it has looked at.
        message: The encoded SubscribeResponse with those that pass; None where none does.
        full: Whether it ended because the message was full.
    """

    place: Place
    looked_at: int
    message: bytes | None
    full: bool


class Page(NamedTuple):
    """A stretch of one partition, dense.

    Attributes:
        after: The sequence before the first.
        encoded: The records, encoded; none where the partition ends.
        entries: The entries of the same records, where a filter has to look at them; else none.
    """

    partition: int
    after: int
    encoded: Sequence[bytes]
    entries: Sequence[LogEntry]

    def has(self, partition: int, after: int) -> bool:
        """Returns whether the entry after a sequence of a partition is in it."""
        return partition == self.partition and 0 <= after - self.after < len(self.encoded)

    def part(self, after: int, most: int) -> "Page":
        """Returns its leading entries after a sequence, `most` at most."""
        first = after - self.after
        there = slice(first, first + most)
        return Page(self.partition, after, self.encoded[there], self.entries[there])

    @property
    def end(self) -> int:
        """The last sequence in it."""
        return self.after + len(self.encoded)


class PageSize:
    """How many records to read at once, by how large they have been; keeps memory bounded."""

    def __init__(self) -> None:
        """Begins with a guess."""
        self._record_bytes = _RECORD_BYTES_GUESS

    def limit(self, most: int) -> int:
        """Returns how many to read: 1 to `most`."""
        return max(1, min(most, PAGE_BYTES_MAX // self._record_bytes))

    def seen(self, encoded: Sequence[bytes]) -> None:
        """Learns from what was read."""
        if encoded:
            self._record_bytes = max(1, sum(map(len, encoded)) // len(encoded))


class Encoder:
    """Encodes the messages of subscriptions with one filter."""

    def __init__(self, store_id: str, wanted: CompiledFilter, records_max: int) -> None:
        """Says what the cursors are made of, and how many records a batch holds at most."""
        self.wanted = wanted
        self.records_max = records_max
        self._store_id = store_id

    def cursor(self, place: Place) -> str:
        """Returns the cursor of a place."""
        return encode_log(LogCursor(self._store_id, self.wanted.fingerprint, place))

    def batch(
        self, encoded: Sequence[bytes], sequences: Sequence[int], partition: int, place: Place
    ) -> bytes:
        """Encodes a batch of one partition's records, one or more, with the sequence of each."""
        parts = _RECORDS.parts(encoded)
        rest = EventBatch(sequences=sequences, partition=partition, cursor=self.cursor(place))
        parts.append(rest.SerializeToString())
        return _BATCH.one(b"".join(parts))

    def fitting(self, encoded: Sequence[bytes]) -> int:
        """Returns how many of the records fit into one batch."""
        return fitting(encoded, self.records_max, BATCH_BYTES_MAX)


class Memo:
    """The last steps that were made, for other subscriptions at the same place."""

    def __init__(self, steps_max: int) -> None:
        """Bounds how many are kept."""
        self._steps_max = steps_max
        self._steps: OrderedDict[object, Step] = OrderedDict()
        self._bytes = 0

    def get(self, key: object) -> Step | None:
        """Returns the step that was made from there; None where it is not kept."""
        return self._steps.get(key)

    def put(self, key: object, step: Step) -> None:
        """Keeps a step, and lets go of the oldest."""
        self._bytes += len(step.message or b"") - len(self._message(key))
        self._steps[key] = step
        while len(self._steps) > self._steps_max or self._bytes > MEMO_BYTES_MAX:
            _, oldest = self._steps.popitem(last=False)
            self._bytes -= len(oldest.message or b"")

    def _message(self, key: object) -> bytes:
        step = self._steps.get(key)
        return (step.message if step else None) or b""


class Feed:
    """The log as one subscription reads it."""

    def __init__(self, tail: LogTail, memo: Memo, encoder: Encoder) -> None:
        """Reads through the process's tail and shares the process's memo."""
        self._tail = tail
        self._memo = memo
        self._encoder = encoder
        self._looked_max = encoder.records_max if encoder.wanted.all_pass else PAGE_ENTRIES_MAX
        self._size = PageSize()
        self._page: Page | None = None

    async def step(self, place: Place, partition: int) -> Step | None:
        """Returns the next step of a partition; None where there is nothing new."""
        step = self._memo.get(self._key(place, partition))
        if step is None or not self._good(step, place, partition):
            page = self._held(partition, place[partition])
            if page is None:
                page = await self._read(partition, place[partition])
            if not page.encoded:
                return None
            step = self._next(page, place)
        if self.buffered(partition, step.place[partition]):
            # The one after it is made while the transport is busy with this one.
            asyncio.get_running_loop().call_soon(self._make_ahead, step.place, partition)
        else:
            # Whoever waits at the end holds no page meanwhile.
            self._page = None
        return step

    def buffered(self, partition: int, after: int) -> bool:
        """Returns whether the next step of the partition needs no reading."""
        return self._held(partition, after) is not None

    def _held(self, partition: int, after: int) -> Page | None:
        """Returns the page in memory where it has the entry after a sequence of a partition."""
        page = self._page
        return page if page is not None and page.has(partition, after) else None

    def _good(self, step: Step, place: Place, partition: int) -> bool:
        """A short step is good for those near the end; a late one wants a full one."""
        return step.full or self._tail.end(partition) - place[partition] < self._looked_max

    def _key(self, place: Place, partition: int) -> object:
        """Returns what the step from a place is kept under."""
        return partition, place, self._encoder.wanted.fingerprint, self._encoder.records_max

    def _make_ahead(self, place: Place, partition: int) -> None:
        page = self._held(partition, place[partition])
        if page is not None and self._memo.get(self._key(place, partition)) is None:
            self._next(page, place)

    def _next(self, page: Page, place: Place) -> Step:
        """Makes the step from a place that is in the page, and keeps both."""
        partition = page.partition
        self._page = page
        step = self._made(page.part(place[partition], self._looked_max), place)
        self._memo.put(self._key(place, partition), step)
        return step

    async def _read(self, partition: int, after: int) -> Page:
        limit = self._size.limit(PAGE_ENTRIES_MAX)
        entries: Sequence[LogEntry] = ()
        if self._encoder.wanted.all_pass:
            encoded = await self._tail.read_encoded(partition, after=after, limit=limit)
        else:
            entries = await self._tail.read(partition, after=after, limit=limit)
            encoded = [entry.encoded for entry in entries]
        self._size.seen(encoded)
        return Page(partition, after, encoded, entries)

    def _made(self, page: Page, place: Place) -> Step:
        encoder, partition, end = self._encoder, page.partition, page.end
        encoded: Sequence[bytes] = page.encoded
        sequences: Sequence[int] = range(page.after + 1, end + 1)
        if not encoder.wanted.all_pass:
            matching = encoder.wanted.matching(page.entries)
            encoded = [entry.encoded for entry in matching]
            sequences = [entry.sequence for entry in matching]
        count = encoder.fitting(encoded)
        full = count < len(encoded) or count == encoder.records_max
        if count < len(encoded):
            # Cut short, the step ends at the last event sent; else it has looked at all of them.
            end = sequences[count - 1]
            encoded, sequences = encoded[:count], sequences[:count]
        after = (*place[:partition], end, *place[partition + 1 :])
        message = encoder.batch(encoded, sequences, partition, after) if count else None
        return Step(after, end - place[partition], message, full)
