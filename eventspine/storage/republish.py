"""Sends stored records to the bus again; promise: they are marked, so none is taken for new.

Repair and the auditor do this for what is in the store and not in the log. A record that is on its
way, or in the log already, is dropped by the sequencer.
"""

import zlib
from collections.abc import Sequence

from eventspine.storage.ports import Bus, EventStore
from eventspine.storage.records import LogEntry

_READ_MAX = 500


def partition_of(stream: str, partitions: int) -> int:
    """Returns the log partition that a stream belongs to, of so many."""
    return zlib.crc32(stream.encode()) % partitions


async def republish(
    events: EventStore, bus: Bus, partitions: int, stream: str, versions: tuple[int, int]
) -> int:
    """Publishes records of a stream on the channel `events`, in order, marked as republished.

    Args:
        events: Where they are read.
        bus: Where they go.
        partitions: How many log partitions there are.
        stream: Whose records.
        versions: The version after which to begin, and the last one.

    Returns:
        How many there were.

    Raises:
        StoreUnavailableError: The store or the bus; some may have been published. Safe to repeat.
    """
    after, last = versions
    partition = partition_of(stream, partitions)
    count = 0
    while after < last:
        records = await events.read(stream, after=after, limit=min(_READ_MAX, last - after))
        if not records:
            break
        entries = [LogEntry(partition, 0, stream, *record, republished=True) for record in records]
        await bus.publish("events", partition, entries)
        count += len(entries)
        after = records[-1].stream_version
    return count


def behind(heads: Sequence[tuple[str, int]], versions: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Returns what the log lacks: by stream, the version it has last, and the one that is stored.

    Args:
        heads: Streams with their last stored version.
        versions: In step with them, the last version that the log has of each.
    """
    return {
        stream: (version, head)
        for (stream, head), version in zip(heads, versions, strict=True)
        if version < head
    }
