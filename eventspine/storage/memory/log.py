"""The log, in memory; promise: dense sequences, and an append only behind the end."""

from collections.abc import Sequence

from eventspine.storage.errors import LogMovedError
from eventspine.storage.records import LogEntry, LogPlace, StreamPlace


class MemoryEventLog:
    """The reference of the port `EventLog`."""

    def __init__(self, partitions: int = 1) -> None:
        """Starts empty, with a fixed number of partitions, one or more."""
        self._partitions: tuple[list[LogEntry], ...] = tuple([] for _ in range(partitions))
        self._places: dict[tuple[str, int], LogPlace] = {}

    async def extend(self, partition: int, after: int, entries: Sequence[LogEntry]) -> None:
        """Puts entries behind the end; see the port."""
        log = self._partitions[partition]
        if len(log) != after:
            raise LogMovedError(f"log partition {partition} ends at {len(log)}, not at {after}")
        log.extend(entries)
        for entry in entries:
            place = LogPlace(partition, entry.sequence)
            self._places[entry.stream, entry.stream_version] = place

    async def read(self, partition: int, *, after: int = 0, limit: int = 500) -> list[LogEntry]:
        """Reads entries above `after`; see the port."""
        return self._partitions[partition][after : after + limit]

    async def ends(self) -> tuple[int, ...]:
        """Returns the last sequence of each partition; see the port."""
        return tuple(len(log) for log in self._partitions)

    async def positions(self, places: Sequence[StreamPlace]) -> list[LogPlace | None]:
        """Returns where in the log each version of a stream is; see the port."""
        return [self._places.get((place.stream, place.stream_version)) for place in places]
