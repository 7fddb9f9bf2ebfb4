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
        self._versions: dict[str, int] = {}

    async def extend(self, partition: int, after: int, entries: Sequence[LogEntry]) -> None:
        """Puts entries behind the end; see the port."""
        log = self._partitions[partition]
        if len(log) != after:
            raise LogMovedError(f"log partition {partition} ends at {len(log)}, not at {after}")
        for entry in entries:
            log.append(entry._replace(republished=False) if entry.republished else entry)
            place = LogPlace(partition, entry.sequence)
            self._places[entry.stream, entry.stream_version] = place
            self._versions[entry.stream] = entry.stream_version

    async def take_over(self, partition: int) -> int:
        """Returns the end of a partition; see the port."""
        return len(self._partitions[partition])

    async def read(self, partition: int, *, after: int = 0, limit: int = 500) -> list[LogEntry]:
        """Reads entries above `after`; see the port."""
        return self._partitions[partition][after : after + limit]

    async def read_encoded(
        self, partition: int, *, after: int = 0, limit: int = 500
    ) -> list[bytes]:
        """Reads the records above `after`, encoded; see the port."""
        return [entry.encoded for entry in self._partitions[partition][after : after + limit]]

    async def ends(self) -> tuple[int, ...]:
        """Returns the last sequence of each partition; see the port."""
        return tuple(len(log) for log in self._partitions)

    async def positions(self, places: Sequence[StreamPlace]) -> list[LogPlace | None]:
        """Returns where in the log each version of a stream is; see the port."""
        return [self._places.get((place.stream, place.stream_version)) for place in places]

    async def versions(self, streams: Sequence[str]) -> list[int]:
        """Returns the last version of each stream that is in the log; see the port."""
        return [self._versions.get(stream, 0) for stream in streams]
