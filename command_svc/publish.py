"""Step 4, publish: stored records go to the bus in commit order; a failing bus fails no command.

What could not be handed on is counted and logged; followers find it in the log.
"""

import asyncio
import logging
import zlib
from collections import deque

from eventspine.storage.ports import Bus, BusMessage
from eventspine.storage.records import Append, LogEntry

ENTRIES_MAX = 100_000
"""How many entries wait for a slow bus; the oldest are left out first."""

STOP_SECONDS = 5.0
"""How long a stop waits for the bus."""

_LOG = logging.getLogger(__name__)


class Publisher:
    """Hands stored records on, in its own task, so that no command waits for the bus."""

    def __init__(self, bus: Bus) -> None:
        """Publishes to a bus."""
        self._bus = bus
        self._partitions = 1
        self._entries: deque[LogEntry] = deque(maxlen=ENTRIES_MAX)
        self._awake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.left_out = 0
        """How many entries never reached the bus."""

    def start(self, partitions: int) -> None:
        """Starts the task that publishes; raw records are spread over log partitions."""
        self._partitions = partitions
        self._task = asyncio.create_task(self._run(), name="publish")

    async def stop(self) -> None:
        """Publishes what waits, as far as the bus takes it in time, and ends."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping = True
        self._awake.set()
        await asyncio.wait({task}, timeout=STOP_SECONDS)
        task.cancel()

    def put(self, append: Append, first_sequence: int | None) -> None:
        """Takes the records of a stored append; never waits.

        Args:
            append: What was stored.
            first_sequence: Where the log has its first record, when the store itself sequences;
                None leaves that to the sequencer.
        """
        stream = append.stream
        entries = self._entries
        partition, sequence, step = 0, 0, 0
        self.left_out += max(0, len(entries) + len(append.records) - ENTRIES_MAX)
        if first_sequence is None:
            partition = zlib.crc32(stream.encode()) % self._partitions
        else:
            sequence, step = first_sequence, 1
        for version, kind, encoded in append.records:
            entries.append(LogEntry(partition, sequence, stream, version, kind, encoded))
            sequence += step
        self._awake.set()

    async def _run(self) -> None:
        while not self._stopping:
            await self._awake.wait()
            self._awake.clear()
            await self._flush()

    async def _flush(self) -> None:
        """Publishes all that waits, in order, one call for each channel and partition."""
        while self._entries:
            groups: dict[tuple[str, int], list[BusMessage]] = {}
            for entry in self._entries:
                channel = "log" if entry.sequence else "events"
                groups.setdefault((channel, entry.partition), []).append(entry)
            self._entries.clear()
            for (channel, partition), messages in groups.items():
                await self._publish(channel, partition, messages)

    async def _publish(self, channel: str, partition: int, messages: list[BusMessage]) -> None:
        try:
            await self._bus.publish(channel, partition, messages)
        except Exception:
            # Whatever ails the bus, the records are stored and the commands answered.
            _LOG.exception("the bus took none of %d entries of %s", len(messages), channel)
            self.left_out += len(messages)
