"""The end of the log in memory, once per process; promise: dense, in order, and never behind it.

The bus says quickly what is new; the log is the truth. Entries that the bus leaves out, sends twice
or in another order are put right from the log, and the log's ends are looked at from time to time,
for a message that never comes. All readers of a process share the entries of one window.
"""

import asyncio
from collections.abc import Sequence

from eventspine.storage.follow import Follower, guarded, tell, told
from eventspine.storage.ports import Bus, BusMessage, EventLog
from eventspine.storage.records import LogEntry, LogPlace

ENTRIES_MAX = 20_000
BYTES_MAX = 64 * 1024 * 1024
POLL_SECONDS = 0.5
PAGE_ENTRIES = 500

ENTRY_BYTES = 300
"""What an entry takes in memory beside its encoded record, about."""


class LogTail:
    """A window on the end of each log partition, and a signal for those who wait for more."""

    def __init__(
        self,
        log: EventLog,
        bus: Bus,
        *,
        entries_max: int = ENTRIES_MAX,
        bytes_max: int = BYTES_MAX,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Bounds the window, over all partitions, and says how often the log is looked at."""
        self._log = log
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._poll_seconds = poll_seconds
        self._windows: list[_Window] = []
        self._index = _Index()
        self._starting = asyncio.Lock()
        self._follower = Follower(bus, "log", self._take)
        self._polling: asyncio.Task[None] | None = None
        # Feeding reads the log and appends, with an await between; only one may do that.
        self._feeding = asyncio.Lock()

    async def start(self) -> None:
        """Takes the ends from the log and follows it from there; harmless where it does already.

        Raises:
            StoreUnavailableError: The log cannot be read; nothing was started.
        """
        async with self._starting:
            if self._polling is not None:
                return
            ends = await self._log.ends()
            entries_max, bytes_max = self._entries_max // len(ends), self._bytes_max // len(ends)
            self._index = _Index()
            self._windows = [_Window(end, entries_max, bytes_max, self._index) for end in ends]
            self._follower.start()
            self._polling = asyncio.create_task(self._poll(), name="log tail: poll")

    async def stop(self) -> None:
        """Stops following. What is in the window can still be read."""
        await self._follower.stop()
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            await asyncio.wait([polling])

    @property
    def partitions(self) -> int:
        """How many partitions the log has. From 1; 0 before `start`."""
        return len(self._windows)

    @property
    def ends(self) -> tuple[int, ...]:
        """The last known sequence of each partition."""
        return tuple(window.end for window in self._windows)

    def end(self, partition: int) -> int:
        """Returns the last known sequence of a partition, 0 for an empty one."""
        return self._windows[partition].end

    async def read(self, partition: int, *, after: int, limit: int) -> Sequence[LogEntry]:
        """Reads entries above `after`, at most `limit`, dense; from the window where it has them.

        Empty means that there are none yet. Fewer than `limit` do not mean that.

        Raises:
            StoreUnavailableError: The log had to be asked and cannot be read.
        """
        window = self._windows[partition]
        if after >= window.before:
            return window.slice(after, limit)
        # Not into the window: the same entries must not be in memory twice.
        return await self._log.read(partition, after=after, limit=min(limit, window.before - after))

    async def read_encoded(self, partition: int, *, after: int, limit: int) -> Sequence[bytes]:
        """Reads the records of the same entries, encoded; the first has sequence `after + 1`.

        Raises:
            StoreUnavailableError: The log had to be asked and cannot be read.
        """
        window = self._windows[partition]
        if after >= window.before:
            return [entry.encoded for entry in window.slice(after, limit)]
        limit = min(limit, window.before - after)
        return await self._log.read_encoded(partition, after=after, limit=limit)

    def place(self, stream: str, stream_version: int) -> LogPlace | None:
        """Returns where a version of a stream is; None where it is in no window."""
        if not self._index.kept:
            self._index.keep([window.entries for window in self._windows])
        return self._index.places.get((stream, stream_version))

    async def wait(self, partition: int, after: int, timeout_seconds: float) -> bool:
        """Waits until the partition's end is above `after`; False when the time was up before."""
        window = self._windows[partition]
        if window.end > after:
            return True
        signal = asyncio.get_running_loop().create_future()
        window.waiting[signal] = after
        try:
            return await told(signal, timeout_seconds)
        finally:
            window.waiting.pop(signal, None)

    async def extended(self, partition: int, entries: Sequence[LogEntry]) -> None:
        """Takes what this process has just put into the log; the bus need not bring it.

        Harmless before `start`. What cannot be taken is found by the next look at the log.
        """
        if partition < len(self._windows):
            async with self._feeding:
                await guarded(self._feed(partition, list(entries)), "log tail")

    async def _poll(self) -> None:
        # The first look also finds what was stored between `ends` and following, in `start`.
        while True:
            await guarded(self._take(()), "log tail")
            await asyncio.sleep(self._poll_seconds)

    async def _take(self, batch: Sequence[BusMessage]) -> None:
        async with self._feeding:
            if batch:
                for partition, entries in _by_partition(batch).items():
                    await self._feed(partition, entries)
            else:
                for partition, end in enumerate(await self._log.ends()):
                    await self._fill(partition, end)
                    self._windows[partition].wake()

    async def _feed(self, partition: int, entries: list[LogEntry]) -> None:
        window = self._windows[partition]
        try:
            for run in _runs(entries, window.end):
                await self._fill(partition, run[0].sequence - 1)
                if run[0].sequence != window.end + 1:
                    # The log does not show all of the hole yet; the next look at it goes on.
                    break
                window.extend(run)
        finally:
            window.wake()

    async def _fill(self, partition: int, through: int) -> None:
        """Reads from the log what the window lacks; jumps where that is more than it holds."""
        window = self._windows[partition]
        if through - window.end > window.entries_max:
            window.jump(through)
        while window.end < through:
            limit = min(PAGE_ENTRIES, through - window.end)
            entries = await self._log.read(partition, after=window.end, limit=limit)
            if not entries:
                return
            window.extend(entries)


class _Window:
    """The last entries of one partition: those above `before`, up to `end`, without holes."""

    def __init__(self, end: int, entries_max: int, bytes_max: int, index: "_Index") -> None:
        self.before = end
        self.end = end
        self.entries_max = max(entries_max, 1)
        self.waiting: dict[asyncio.Future[bool], int] = {}
        self.entries: list[LogEntry] = []
        self._index = index
        self._bytes_max = bytes_max
        self._bytes = 0
        self._woken_end = end

    def slice(self, after: int, limit: int) -> Sequence[LogEntry]:
        if after >= self.end:
            return ()
        first = after - self.before
        return self.entries[first : first + limit]

    def extend(self, entries: Sequence[LogEntry]) -> None:
        """Adds entries that follow the end, and lets go of the oldest beyond the bounds."""
        self.entries += entries
        if self._index.kept:
            self._index.add(entries)
        self.end += len(entries)
        self._bytes += sum([_bytes_of(entry) for entry in entries])
        excess = max(len(self.entries) - self.entries_max, 0)
        freed = sum([_bytes_of(entry) for entry in self.entries[:excess]])
        while self._bytes - freed > self._bytes_max:
            freed += _bytes_of(self.entries[excess])
            excess += 1
        if excess:
            self._index.drop(self.entries[:excess])
            del self.entries[:excess]
            self._bytes -= freed
            self.before += excess

    def jump(self, end: int) -> None:
        """Goes to an end without the entries before it."""
        self._index.drop(self.entries)
        self.entries.clear()
        self._bytes = 0
        self.before = self.end = end

    def wake(self) -> None:
        """Wakes those who have what they wait for, once for all that came since the last time."""
        if self.end == self._woken_end:
            return
        self._woken_end = self.end
        for signal, after in self.waiting.items():
            if self.end > after:
                tell(signal, True)


class _Index:
    """Where the entries of all windows are, by stream and version; kept once somebody has asked."""

    def __init__(self) -> None:
        self.kept = False
        self.places: dict[tuple[str, int], LogPlace] = {}

    def keep(self, windows: Sequence[Sequence[LogEntry]]) -> None:
        self.kept = True
        for entries in windows:
            self.add(entries)

    def add(self, entries: Sequence[LogEntry]) -> None:
        places = self.places
        for entry in entries:
            partition, sequence, stream, version, *_ = entry
            places[stream, version] = LogPlace(partition, sequence)

    def drop(self, entries: Sequence[LogEntry]) -> None:
        if self.kept:
            for entry in entries:
                self.places.pop((entry.stream, entry.stream_version), None)


def _bytes_of(entry: LogEntry) -> int:
    return len(entry.encoded) + ENTRY_BYTES


def _by_partition(batch: Sequence[BusMessage]) -> dict[int, list[LogEntry]]:
    entries: dict[int, list[LogEntry]] = {}
    for message in batch:
        if type(message) is LogEntry:
            entries.setdefault(message.partition, []).append(message)
    return entries


def _runs(entries: list[LogEntry], end: int) -> list[list[LogEntry]]:
    """Returns the entries above `end` in order, each once, cut where sequences are left out."""
    runs: list[list[LogEntry]] = []
    last = end
    for entry in sorted(entries, key=_sequence_of):
        if entry.sequence <= last:
            continue
        if runs and entry.sequence == last + 1:
            runs[-1].append(entry)
        else:
            runs.append([entry])
        last = entry.sequence
    return runs


def _sequence_of(entry: LogEntry) -> int:
    return entry.sequence
