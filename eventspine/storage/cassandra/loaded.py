"""What a restore that was cut off has loaded; promise: only what is in the backup is taken for it.

A restore stores each part whole and in the order of the backup. So what is there of a stream, or of
a log partition, is a leading part of what the next restore of that backup brings.
"""

import asyncio
from collections.abc import Sequence

from eventspine.storage.cassandra.events import CassandraEventStore
from eventspine.storage.cassandra.log import CassandraEventLog
from eventspine.storage.errors import RestoreOrderError
from eventspine.storage.records import CommandRow, LogEntry

OTHER_BACKUP = (
    "a restore that was cut off has loaded something else; restore the backup that it was of, or"
    " into a new keyspace"
)


class Loaded:
    """Events, entries of the log and commands of a tenant whose restore was cut off."""

    def __init__(
        self, events: CassandraEventStore, log: CassandraEventLog, ends: Sequence[int]
    ) -> None:
        """Looks into a tenant's store.

        Args:
            events: Its events and commands.
            log: Its log.
            ends: Where the partitions of its log ended when the restore was begun again.
        """
        self._events = events
        self._log = log
        self._ends = ends

    async def records(self, stream: str, entries: Sequence[LogEntry]) -> int:
        """Returns how many leading ones of a stream's consecutive events are there.

        Raises:
            RestoreOrderError: Another event is there in the place of one.
            StoreUnavailableError: It is not known.
        """
        after = entries[0].stream_version - 1
        there = await self._events.read(stream, after=after, limit=len(entries))
        expected = [(entry.stream_version, entry.encoded) for entry in entries[: len(there)]]
        if [(one.stream_version, one.encoded) for one in there] != expected:
            raise RestoreOrderError(f"stream {stream} differs behind {after}: {OTHER_BACKUP}")
        return len(there)

    async def entries(self, partition: int, entries: Sequence[LogEntry]) -> int:
        """Returns how many leading ones of consecutive entries are in the log.

        Raises:
            RestoreOrderError: Another entry is there in the place of one.
            StoreUnavailableError: It is not known.
        """
        after = entries[0].sequence - 1
        count = max(0, min(self._ends[partition] - after, len(entries)))
        there = await self._log.read(partition, after=after, limit=count) if count else []
        # What was sent to the log as republished comes back without saying so.
        expected = [entry._replace(republished=False) for entry in entries[:count]]
        if there != expected:
            raise RestoreOrderError(
                f"partition {partition} of the log differs behind {after}: {OTHER_BACKUP}"
            )
        return count

    async def missing(self, stream: str, commands: Sequence[CommandRow]) -> list[CommandRow]:
        """Returns which of a stream's commands are not there.

        Raises:
            StoreUnavailableError: It is not known.
        """
        ids = [command.command_id for command in commands]
        known = await asyncio.gather(*[self._events.command(stream, one) for one in ids])
        # One with other content is left in: to store it will say what is wrong.
        return [row for row, there in zip(commands, known, strict=True) if there != row]
