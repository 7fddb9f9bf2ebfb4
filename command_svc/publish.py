"""Step 4, publish: stored records go to the bus in commit order; a failing bus fails no command.

A bus that takes records without waiting gets those of one turn of the loop in the next, all at once
and behind the answers; for any other, a task for each partition hands them on.

While the bus is down, records wait for it and are sent again, each partition's in order, so that a
minute without the bus loses nothing. What waits is bounded; what does not fit is left out, counted
and logged, and followers find it in the log, where repair brings it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine

from command_svc.hints import Window
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.ports import Bus
from eventspine.storage.records import Append, LogEntry
from eventspine.storage.republish import partition_of

ENTRIES_MAX = 100_000
"""How many entries wait for a slow bus; the oldest are left out first."""

BYTES_MAX = 256 * 1024 * 1024
"""How large the records that wait are together."""

BATCH_ENTRIES_MAX = 5_000
"""How many entries are handed on at once."""

WAIT_SECONDS_MIN = 0.05
"""How long to wait before a bus that is down is tried again; doubles up to the maximum."""

WAIT_SECONDS_MAX = 2.0
"""How long to wait at most before a bus that is down is tried again."""

STOP_SECONDS = 5.0
"""How long a stop waits for the bus."""

_LOG = logging.getLogger(__name__)


class Publisher:
    """Hands stored records on, in tasks of its own, so that no command waits for the bus."""

    def __init__(
        self, bus: Bus, *, entries_max: int = ENTRIES_MAX, bytes_max: int = BYTES_MAX
    ) -> None:
        """Publishes to a bus; bounds what waits for it."""
        self._bus = bus
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._partitions = 1
        self._sequenced: list[LogEntry] = []
        self._queues: dict[tuple[str, int], _Queue] = {}
        self._count = 0
        self._bytes = 0
        self._started = False
        self._stopping = False
        self.left_out = 0
        """How many entries never reached the bus."""

    @property
    def waiting(self) -> int:
        """How many entries are not with the bus yet."""
        return self._count + len(self._sequenced)

    def start(self, partitions: int) -> None:
        """Starts to publish; raw records are spread over log partitions."""
        self._partitions = partitions
        self._started = True
        for queue in self._queues.values():
            queue.start(self._run(queue))

    async def stop(self) -> None:
        """Publishes what waits, as far as the bus takes it in time, and ends."""
        self._stopping = True
        self._hand_on()
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None]
        for queue in self._queues.values():
            queue.awake.set()
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._count:
            _LOG.warning("%d entries wait for the bus at the end; repair finds them", self._count)
            self.left_out += self._count
            self._count = self._bytes = 0

    def put(self, append: Append, first_sequence: int | None, window: Window | None = None) -> None:
        """Takes the records of a stored append; never waits.

        Args:
            append: What was stored.
            first_sequence: Where the log has its first record, when the store itself sequences;
                None leaves that to the sequencer.
            window: What has to hear of each record whether it got to the bus; not for those that
                are sequenced.
        """
        stream = append.stream
        if first_sequence is None:
            partition = partition_of(stream, self._partitions)
            entries = [LogEntry(partition, 0, stream, *record) for record in append.records]
            self._wait(self._queue("events", partition), entries, window)
            return
        if not self._sequenced:
            asyncio.get_running_loop().call_soon(self._hand_on)
        add = self._sequenced.append
        for sequence, (version, kind, encoded) in enumerate(append.records, first_sequence):
            add(LogEntry(0, sequence, stream, version, kind, encoded))

    def _hand_on(self) -> None:
        """Hands on what the store has sequenced, at once where that is possible."""
        entries, self._sequenced = self._sequenced, []
        if not entries:
            return
        queue = self._queue("log", 0)
        if self._started and queue.idle and self._bus.publish_now(queue.channel, 0, entries):
            return
        self._wait(queue, entries, None)

    def _wait(self, queue: "_Queue", entries: list[LogEntry], window: Window | None) -> None:
        """Lets entries wait for the task that hands them on."""
        queue.entries.extend(entries)
        queue.windows.extend([window] * len(entries))
        self._count += len(entries)
        self._bytes += sum(len(entry.encoded) for entry in entries)
        if self._count > self._entries_max or self._bytes > self._bytes_max:
            self._leave_out()
        queue.awake.set()

    def _queue(self, channel: str, partition: int) -> "_Queue":
        queue = self._queues.get((channel, partition))
        if queue is None:
            queue = self._queues[channel, partition] = _Queue(channel, partition)
            if self._started:
                queue.start(self._run(queue))
        return queue

    def _leave_out(self) -> None:
        """Leaves out the oldest of the longest queue until what waits is within its bounds."""
        before = self.left_out
        while self._count > self._entries_max or self._bytes > self._bytes_max:
            queue = max(self._queues.values(), key=lambda queue: len(queue.entries))
            if not queue.entries:
                break
            self._gone(queue.entries.popleft(), queue.windows.popleft(), on_the_bus=False)
            self.left_out += 1
        if before == 0 and self.left_out:
            _LOG.error("more waits for the bus than is kept; repair finds what is left out")

    def _gone(self, entry: LogEntry, window: Window | None, *, on_the_bus: bool) -> None:
        self._count -= 1
        self._bytes -= len(entry.encoded)
        if window is not None:
            window.published(entry.stream, on_the_bus=on_the_bus)

    async def _run(self, queue: "_Queue") -> None:
        while queue.entries or not self._stopping:
            await queue.awake.wait()
            queue.awake.clear()
            while queue.entries:
                queue.publishing = True
                await self._publish(queue, *queue.take())
                queue.publishing = False

    async def _publish(
        self, queue: "_Queue", batch: list[LogEntry], windows: list[Window | None]
    ) -> None:
        """Hands a batch on, however long the bus is down."""
        seconds, taken = WAIT_SECONDS_MIN, True
        while True:
            try:
                await self._bus.publish(queue.channel, queue.partition, batch)
                break
            except StoreUnavailableError as error:
                _LOG.warning("%d entries of %s wait: %s", self._count, queue.channel, error)
            except Exception:
                # A defect: the records are stored and the commands answered, whatever it is.
                _LOG.exception("the bus takes none of %d entries", len(batch))
                self.left_out += len(batch)
                taken = False
                break
            await asyncio.sleep(seconds)
            seconds = min(seconds * 2, WAIT_SECONDS_MAX)
            # Some of them may have arrived.
            batch = [entry._replace(republished=True) for entry in batch]
        for entry, window in zip(batch, windows, strict=True):
            self._gone(entry, window, on_the_bus=taken)


class _Queue:
    """What waits for one partition of a channel, and the task that hands it on."""

    def __init__(self, channel: str, partition: int) -> None:
        self.channel = channel
        self.partition = partition
        self.entries: deque[LogEntry] = deque()
        self.windows: deque[Window | None] = deque()
        self.awake = asyncio.Event()
        self.publishing = False
        self.task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return not self.entries and not self.publishing

    def start(self, run: Coroutine[None, None, None]) -> None:
        self.task = asyncio.create_task(run, name=f"publish {self.channel} {self.partition}")

    def take(self) -> tuple[list[LogEntry], list[Window | None]]:
        """Takes the oldest entries out, and their windows in step."""
        entries, windows = self.entries, self.windows
        count = min(len(entries), BATCH_ENTRIES_MAX)
        taken = [entries.popleft() for _ in range(count)]
        return taken, [windows.popleft() for _ in range(count)]
