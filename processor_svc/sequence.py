"""Step 5: sequence; promise: every stored record is in the log once, in its stream's order.

The bus delivers records at least once and not always in order. Here each partition's records are
put in order: what the log has already is dropped, what was skipped is read from the store, and the
rest goes behind the log's end by one conditional write. A second sequencer of the same partition
loses that condition, looks where the log is now, and goes on from there.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

from eventspine.rpc import logs
from eventspine.rpc.figures import Figure
from eventspine.storage.errors import LogMovedError, OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.ports import Bus, BusMessage, EventLog, EventStore, GroupReader
from eventspine.storage.records import LogEntry
from eventspine.storage.tail import LogTail
from eventspine.v1.record_pb2 import EventRecord
from processor_svc.positions import Bounds, Positions
from processor_svc.rest import Rest

_log = logging.getLogger("eventspine.sequence")

GROUP = "sequencer"
"""The group by which sequencers share the raw records."""

EXTEND_ENTRIES_MAX = 500
"""How many entries go into the log by one write."""

EXTEND_BYTES_MAX = 4 * 1024 * 1024
"""How large the records of one write are together; a single larger one goes alone."""

READ_MAX = 500
"""How many records of a stream are read at once to fill a gap."""


class Sequencer:
    """Puts raw records into the log, for all partitions, until it is stopped."""

    def __init__(
        self,
        events: EventStore,
        log: EventLog,
        bus: Bus,
        *,
        tail: LogTail | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Sequences records from the bus's channel `events` into the log.

        Args:
            events: Where skipped versions are read.
            log: What is extended.
            bus: Records come on `events`; sequenced ones go out on `log`.
            tail: The log's end in this process, which hears of sequenced records before the bus
                brings them; None where nobody here follows the log.
            bounds: How much to remember of each partition; None means the usual.
        """
        self._tail = tail
        self._events = events
        self._log = log
        self._bus = bus
        self._bounds = bounds or Bounds()
        self._lanes: dict[int, _Lane] = {}
        self._sequenced: dict[int, tuple[int, int]] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to consume. No record published after this call is missed."""
        reader = self._bus.consume("events", GROUP)
        self._task = asyncio.create_task(self._run(reader), name="sequence")

    async def stop(self) -> None:
        """Stops; a batch that is not in the log yet is left to the next sequencer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def figures(self) -> Iterable[Figure]:
        """Returns what was put into the log so far by this process, by partition."""
        for place, what in enumerate(("batches", "events")):
            yield Figure(
                f"eventspine_sequenced_{what}_total",
                "counter",
                f"How many {what} were put into the log.",
                ("partition",),
                {(str(number),): counts[place] for number, counts in self._sequenced.items()},
            )

    async def _run(self, reader: GroupReader) -> None:
        async with contextlib.aclosing(reader):
            async for batch in reader:
                # All at once: one partition's way to the store must not wait for another's.
                by_partition = _by_partition(batch).items()
                await asyncio.gather(*[self._until_done(*work) for work in by_partition])
                for given_up in self._lanes.keys() - reader.owned:
                    self._lanes.pop(given_up)

    async def _until_done(self, partition: int, entries: Sequence[LogEntry]) -> None:
        rest = Rest()
        while True:
            try:
                return await self.sequence(partition, entries)
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                _log.warning(
                    "partition %d cannot go on for now, trying again: %s", partition, error
                )
            except Exception:
                # A defect: it is shown each time, and no record is left out because of it.
                _log.exception("partition %d cannot be sequenced, trying again", partition)
            self._lanes.pop(partition, None)
            await asyncio.sleep(rest.begin())

    async def sequence(self, partition: int, entries: Sequence[LogEntry]) -> None:
        """Puts what is new of a batch into the log and publishes it. Safe to repeat.

        Raises:
            StoreUnavailableError: The log has a leading part of the batch, or nothing.
            OutcomeUnknownError: The batch may be in the log. Safe to call again.
        """
        while True:
            lane = await self._lane(partition)
            fresh = await _Batch(lane.end, partition, self._missing).order(
                entries, await self._positions(lane, entries)
            )
            try:
                for chunk in _chunks(fresh):
                    await self._log.extend(partition, lane.end, chunk)
                    lane.passed(chunk)
                    self._count(partition, chunk)
                    if self._tail is not None:
                        await self._tail.extended(partition, chunk)
                    await self._bus.publish("log", partition, chunk)
                return
            except LogMovedError:
                _log.warning("partition %d was extended by somebody else, going on", partition)
                self._lanes.pop(partition, None)

    def _count(self, partition: int, entries: Sequence[LogEntry]) -> None:
        batches, events = self._sequenced.get(partition, (0, 0))
        self._sequenced[partition] = (batches + 1, events + len(entries))
        if _log.isEnabledFor(logging.DEBUG):
            _tell(entries)

    async def _lane(self, partition: int) -> "_Lane":
        lane = self._lanes.get(partition)
        if lane is None:
            end = await self._log.take_over(partition)
            lane = _Lane(end, self._bounds)
            await self._remember(partition, lane)
            self._lanes[partition] = lane
        return lane

    async def _remember(self, partition: int, lane: "_Lane") -> None:
        """Reads the whole log of a partition that is taken over, unless it is long."""
        after = 0
        while lane.whole and after < lane.end:
            limit = min(READ_MAX, lane.end - after)
            entries = await self._log.read(partition, after=after, limit=limit)
            if not entries:
                raise StoreUnavailableError(
                    f"the log does not show what is after {after} of partition {partition}",
                    cause="the log is behind its end",
                )
            lane.positions.note(entries, lane.now())
            after += len(entries)

    async def _positions(self, lane: "_Lane", entries: Sequence[LogEntry]) -> dict[str, int]:
        """Returns the last sequenced version of each stream of a batch."""
        known, covers = lane.positions.known, lane.positions.covers(lane.now())
        found: dict[str, int] = {}
        unknown: set[str] = set()
        for entry in entries:
            stream = entry.stream
            if stream in found:
                continue
            version = known(stream)
            if version is not None:
                found[stream] = version
            elif covers and entry.stream_version == 1 and not entry.republished:
                found[stream] = 0
            else:
                unknown.add(stream)
        asked = [stream for stream in unknown if stream not in found]
        if asked:
            found.update(zip(asked, await self._log.versions(asked), strict=True))
        return found

    async def _missing(self, stream: str, after: int, before: int) -> list[LogEntry]:
        """Reads from the store what the bus has left out."""
        missing: list[LogEntry] = []
        while after + 1 < before:
            limit = min(READ_MAX, before - 1 - after)
            records = await self._events.read(stream, after=after, limit=limit)
            missing += [LogEntry(0, 0, stream, *record) for record in records]
            after += len(records)
            if not records:
                break
        return missing


class _Lane:
    """What is known of one partition."""

    def __init__(self, end: int, bounds: Bounds) -> None:
        self.now = asyncio.get_running_loop().time
        self.end = end
        self.whole = end <= bounds.history_entries_max
        self.positions = Positions(bounds, whole=self.whole, now=self.now())

    def passed(self, entries: Sequence[LogEntry]) -> None:
        """Notes that the entries are in the log now."""
        self.end = entries[-1].sequence
        self.positions.note(entries, self.now())


class _Batch:
    """Orders one batch of one partition."""

    def __init__(
        self,
        end: int,
        partition: int,
        missing: Callable[[str, int, int], Awaitable[list[LogEntry]]],
    ) -> None:
        self._end = end
        self._partition = partition
        self._missing = missing
        self._ordered: list[LogEntry] = []
        self._positions: dict[str, int] = {}

    async def order(
        self, entries: Sequence[LogEntry], positions: Mapping[str, int]
    ) -> list[LogEntry]:
        """Returns what is new, each stream without gaps, with the sequences that follow the end."""
        self._positions = dict(positions)
        early: dict[str, dict[int, LogEntry]] = {}
        for entry in entries:
            distance = entry.stream_version - self._positions[entry.stream]
            if distance == 1:
                self._put(entry)
                if entry.stream in early:
                    self._put_following(early[entry.stream])
            elif distance > 1:
                early.setdefault(entry.stream, {})[entry.stream_version] = entry
        for stream, waiting in early.items():
            await self._put_rest(stream, waiting)
        return self._ordered

    def _put(self, entry: LogEntry) -> None:
        self._positions[entry.stream] = entry.stream_version
        sequence = self._end + len(self._ordered) + 1
        self._ordered.append(LogEntry(self._partition, sequence, *entry[2:6]))

    def _put_following(self, early: dict[int, LogEntry]) -> None:
        while early:
            stream = next(iter(early.values())).stream
            entry = early.pop(self._positions[stream] + 1, None)
            if entry is None:
                return
            self._put(entry)

    async def _put_rest(self, stream: str, early: dict[int, LogEntry]) -> None:
        for version in sorted(early):
            last = self._positions[stream]
            if version > last + 1:
                for entry in await self._missing(stream, last, version):
                    self._put(entry)
            if version == self._positions[stream] + 1:
                self._put(early[version])
            elif version > self._positions[stream]:
                _log.error("the store has no version before %d of stream %s", version, stream)


def _tell(entries: Sequence[LogEntry]) -> None:
    for entry in entries:
        logs.write(
            _log,
            logging.DEBUG,
            "sequenced",
            command_id=EventRecord.FromString(entry.encoded).command_id,
            stream=entry.stream,
            stream_version=entry.stream_version,
            partition=entry.partition,
            sequence=entry.sequence,
        )


def _by_partition(batch: Sequence[BusMessage]) -> dict[int, list[LogEntry]]:
    by_partition: dict[int, list[LogEntry]] = {}
    for entry in batch:
        if isinstance(entry, LogEntry):
            by_partition.setdefault(entry.partition, []).append(entry)
    return by_partition


def _chunks(entries: list[LogEntry]) -> Iterator[list[LogEntry]]:
    """Cuts entries into the parts that go into the log one after the other."""
    start = size = 0
    for place, entry in enumerate(entries):
        size += len(entry.encoded)
        full = place - start == EXTEND_ENTRIES_MAX or size > EXTEND_BYTES_MAX
        if full and place > start:
            yield entries[start:place]
            start, size = place, len(entry.encoded)
    if start < len(entries):
        yield entries[start:]
