"""Step 5: sequence; promise: every stored record is in the log once, in its stream's order.

The bus delivers records at least once and not always in order. Here each partition's records are
put in order: what the log has already is dropped, what was skipped is read from the store, and the
rest goes behind the log's end by one conditional write. A second sequencer of the same partition
loses that condition, looks where the log is now, and goes on from there.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from eventspine.rpc import logs
from eventspine.rpc.figures import Figure
from eventspine.storage.errors import LogMovedError, OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.ports import Bus, BusMessage, BusReader, EventLog, EventStore
from eventspine.storage.records import LogEntry, StreamPlace

_log = logging.getLogger("eventspine.sequence")

GROUP = "sequencer"
"""The group by which sequencers share the raw records."""

POSITIONS_MAX = 200_000
"""How many streams' positions a partition keeps in memory; others are looked up in the log."""

WAIT_SECONDS_MIN = 0.05
"""How long to wait before a store that is down is asked again; doubles up to the maximum."""

WAIT_SECONDS_MAX = 5.0
"""How long to wait at most before a store that is down is asked again."""

READ_MAX = 500
"""How many records of a stream are read at once to fill a gap."""


class Sequencer:
    """Puts raw records into the log, for all partitions, until it is stopped."""

    def __init__(
        self, events: EventStore, log: EventLog, bus: Bus, *, positions_max: int = POSITIONS_MAX
    ) -> None:
        """Sequences records from the bus's channel `events` into the log.

        Args:
            events: Where skipped versions are read.
            log: What is extended.
            bus: Records come on `events`; sequenced ones go out on `log`.
            positions_max: How many streams' positions to keep in memory, a partition.
        """
        self._events = events
        self._log = log
        self._bus = bus
        self._positions_max = positions_max
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

    async def _run(self, reader: BusReader) -> None:
        async with contextlib.aclosing(reader):
            async for batch in reader:
                for partition, entries in _by_partition(batch).items():
                    await self._until_done(partition, entries)

    async def _until_done(self, partition: int, entries: Sequence[LogEntry]) -> None:
        seconds = WAIT_SECONDS_MIN
        while True:
            try:
                return await self.sequence(partition, entries)
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                _log.warning("partition %d waits %.2f s: %s", partition, seconds, error)
            except Exception:
                # A defect: it is shown each time, and no record is left out because of it.
                _log.exception("partition %d cannot be sequenced, trying again", partition)
            self._lanes.pop(partition, None)
            await asyncio.sleep(seconds)
            seconds = min(seconds * 2, WAIT_SECONDS_MAX)

    async def sequence(self, partition: int, entries: Sequence[LogEntry]) -> None:
        """Puts what is new of a batch into the log and publishes it. Safe to repeat.

        Raises:
            StoreUnavailableError: Nothing was put into the log.
            OutcomeUnknownError: The batch may be in the log. Safe to call again.
        """
        while True:
            lane = await self._lane(partition)
            fresh = await _Batch(lane.end, partition, self._missing).order(
                entries, await self._positions(lane, entries)
            )
            if not fresh:
                return
            try:
                await self._log.extend(partition, lane.end, fresh)
            except LogMovedError:
                _log.warning("partition %d was extended by somebody else, going on", partition)
                del self._lanes[partition]
                continue
            lane.passed(fresh)
            if _log.isEnabledFor(logging.DEBUG):
                _tell(fresh)
            batches, count = self._sequenced.get(partition, (0, 0))
            self._sequenced[partition] = (batches + 1, count + len(fresh))
            await self._bus.publish("log", partition, fresh)
            return

    async def _lane(self, partition: int) -> "_Lane":
        lane = self._lanes.get(partition)
        if lane is None:
            end = (await self._log.ends())[partition]
            lane = self._lanes[partition] = _Lane(end, self._positions_max)
        return lane

    async def _positions(self, lane: "_Lane", entries: Sequence[LogEntry]) -> dict[str, int]:
        """Returns the last sequenced version of each stream of a batch."""
        lowest: dict[str, int] = {}
        for entry in entries:
            if entry.stream_version < lowest.get(entry.stream, entry.stream_version + 1):
                lowest[entry.stream] = entry.stream_version
        found: dict[str, int] = {}
        unknown: list[StreamPlace] = []
        for stream, version in lowest.items():
            known = lane.positions.get(stream)
            if known is None:
                unknown.append(StreamPlace(stream, version))
            else:
                found[stream] = known
        if unknown:
            found.update(await self._looked_up(unknown))
        return found

    async def _looked_up(self, places: Sequence[StreamPlace]) -> dict[str, int]:
        asked = [*places, *(StreamPlace(stream, version - 1) for stream, version in places)]
        answers = await self._log.positions(asked)
        found: dict[str, int] = {}
        for index, (stream, version) in enumerate(places):
            if answers[index] is not None:
                head = await self._events.head(stream)
                found[stream] = await self._bisect(stream, version, head.version)
            elif version == 1 or answers[len(places) + index] is not None:
                found[stream] = version - 1
            else:
                found[stream] = await self._bisect(stream, 0, version - 2)
        return found

    async def _bisect(self, stream: str, low: int, high: int) -> int:
        """Returns the last version in the log, which is `low` or more and at most `high`."""
        while low < high:
            middle = (low + high + 1) // 2
            (place,) = await self._log.positions([StreamPlace(stream, middle)])
            if place is None:
                high = middle - 1
            else:
                low = middle
        return low

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

    def __init__(self, end: int, positions_max: int) -> None:
        self.end = end
        self.positions: dict[str, int] = {}
        self._positions_max = positions_max

    def passed(self, entries: Sequence[LogEntry]) -> None:
        """Notes that the entries are in the log; forgets the streams that were not seen longest."""
        positions = self.positions
        self.end = entries[-1].sequence
        for entry in entries:
            positions.pop(entry.stream, None)
            positions[entry.stream] = entry.stream_version
        while len(positions) > self._positions_max:
            del positions[next(iter(positions))]


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
        self._ordered.append(LogEntry(self._partition, sequence, *entry[2:]))

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
