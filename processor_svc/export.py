"""Exports records and commands for a backup; promise: what it sends belongs together.

The end of the log is fixed when the export begins. Records up to there are sent as they were
stored; then the commands that are remembered for them, and none whose records lie beyond: a command
restored without its records would be answered as done, and its records be lost.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from eventspine.rpc.errors import CursorExpiredError, InvalidRequestError, Violation
from eventspine.storage.places import Places
from eventspine.storage.ports import EventLog, EventStore
from eventspine.storage.records import LogEntry, LogPlace, NumberedCommand, StreamPlace
from eventspine.storage.tail import LogTail
from eventspine.v1.admin_pb2 import CommandRow, ExportRequest, ExportResponse
from processor_svc.export_end import check_whole, whole_ends
from processor_svc.export_spans import STREAMS_MAX, SentSpans

BATCH_BYTES = 1 << 20
"""About how many bytes a message holds; one record more than that is sent alone."""

NUMBER_MAX = (1 << 63) - 1
"""No store counts further."""

LATE_SECONDS = 3.0
"""How long a store that another process sequences may take to tell places."""

TAIL_SECONDS = 10.0
"""How long the tail may take to have what the log has; without, the newest commands come later."""

READ_MAX = 2_000
"""How many records or commands are read at once."""


class Export:
    """One export of one store."""

    def __init__(
        self,
        events: EventStore,
        log: EventLog,
        tail: LogTail,
        *,
        sequences_on_append: bool,
        streams_max: int = STREAMS_MAX,
    ) -> None:
        """Exports a store.

        Args:
            events: Where the commands are read.
            log: Where the records are read.
            tail: The end of that log, of which the store tells places late.
            sequences_on_append: Whether commands are numbered in the order of the log.
            streams_max: Of how many streams to remember what was sent.
        """
        self._events = events
        self._log = log
        self._tail = tail
        self._located = Places(log, None if sequences_on_append else tail)
        self._sequences_on_append = sequences_on_append
        self._sent = SentSpans(streams_max)

    async def run(self, request: ExportRequest) -> AsyncIterator[ExportResponse]:
        """Sends what is after the places that the request names, and an empty message at last.

        Raises:
            InvalidRequestError: A partition does not exist, or is named twice, or a command number
                is beyond all that a store counts.
            CursorExpiredError: A place is beyond the end of the log.
            StoreUnavailableError: The store cannot be read.
        """
        if request.after_command_number > NUMBER_MAX:
            raise InvalidRequestError(
                Violation(
                    "after_command_number", f"is over {NUMBER_MAX}; send one that an export told"
                )
            )
        ends = await self._log.ends()
        places = _places(request, ends)
        if not self._sequences_on_append:
            ends = await whole_ends(self._events, self._log, places, ends)
        remaining = sum(end - place for end, place in zip(ends, places, strict=True))
        for partition, (place, end) in enumerate(zip(places, ends, strict=True)):
            async for batch in self._records(partition, place, end):
                remaining -= len(batch.records)
                batch.remaining = remaining
                yield batch
        for partition, end in enumerate(ends):
            await self._tail.wait(partition, end - 1, TAIL_SECONDS)
        if self._sequences_on_append:
            commands = self._commands(request.after_command_number, ends)
        else:
            commands = self._new_commands(places, ends)
        async for batch in commands:
            yield batch
        yield ExportResponse()

    async def _records(self, partition: int, place: int, end: int) -> AsyncIterator[ExportResponse]:
        while place < end:
            limit = min(READ_MAX, end - place)
            entries = await self._log.read(partition, after=place, limit=limit)
            if not self._sequences_on_append:
                self._sent.note(entries)
            for chunk in _chunks(entries):
                yield ExportResponse(
                    records=[entry.encoded for entry in chunk],
                    sequences=[entry.sequence for entry in chunk],
                    partition=partition,
                )
            place = entries[-1].sequence

    async def _commands(self, number: int, ends: Sequence[int]) -> AsyncIterator[ExportResponse]:
        while commands := await self._events.commands(after=number, limit=READ_MAX):
            number = commands[-1].number
            covered = await self._covered(commands, ends)
            if covered:
                yield ExportResponse(commands=[_row(command) for command in covered])
            # In the order of the log, all further commands lie beyond its end too. Left out here,
            # they come with the next export, which goes on after the last number sent.
            if len(covered) < len(commands):
                return

    async def _new_commands(
        self, after: Sequence[int], ends: Sequence[int]
    ) -> AsyncIterator[ExportResponse]:
        """Finds the commands of the records that were sent, among all in no order.

        Commands without events have no place of their own, and are sent each time.
        """
        number = 0
        unplaced: list[NumberedCommand] = []
        while commands := await self._events.commands(after=number, limit=READ_MAX):
            number = commands[-1].number
            new, unknown = self._sent.sort(commands)
            found = await self._places(unknown)
            new += [c for c, place in found if place is not None and _moved(c, place, after, ends)]
            unplaced += [c for c, place in found if place is None]
            # Of those without a place, the first record may be told earlier than the last one.
            beyond = [c for c, place in found if place is not None and _is_beyond(place, ends)]
            await check_whole(self._located, beyond, ends)
            if new:
                yield ExportResponse(commands=[_row(command) for command in new])
        if unplaced:
            await asyncio.sleep(LATE_SECONDS)
        for first in range(0, len(unplaced), READ_MAX):
            found = await self._places(unplaced[first : first + READ_MAX])
            beyond = [c for c, place in found if place is None or _is_beyond(place, ends)]
            await check_whole(self._located, beyond, ends)
            new = [c for c, place in found if place is not None and _moved(c, place, after, ends)]
            if new:
                yield ExportResponse(commands=[_row(command) for command in new])

    async def _covered(
        self, commands: Sequence[NumberedCommand], ends: Sequence[int]
    ) -> list[NumberedCommand]:
        """Returns the commands whose records are exported, up to the first other one."""
        covered: list[NumberedCommand] = []
        for command, place in await self._places(commands):
            if place is None or _is_beyond(place, ends):
                break
            covered.append(command)
        return covered

    async def _places(
        self, commands: Sequence[NumberedCommand]
    ) -> list[tuple[NumberedCommand, LogPlace | None]]:
        """Returns each command with the place of its last version; None where none is known."""
        asked = [StreamPlace(stream, row.last_version) for _, stream, row in commands]
        found = iter(await self._located.find([place for place in asked if place.stream_version]))
        places = [next(found) if place.stream_version else _ORIGIN for place in asked]
        return list(zip(commands, places, strict=True))


_ORIGIN = LogPlace(0, 0)
"""Before all records: the place of a command that had nothing to do in a stream without events."""


def _moved(
    command: NumberedCommand, place: LogPlace, after: Sequence[int], ends: Sequence[int]
) -> bool:
    """Tells whether a command belongs to the records that are sent, or has none of its own."""
    if _is_beyond(place, ends):
        return False
    return not command.row.event_count or place.sequence > after[place.partition]


def _is_beyond(place: LogPlace, ends: Sequence[int]) -> bool:
    return place.sequence > ends[place.partition]


def _places(request: ExportRequest, ends: Sequence[int]) -> list[int]:
    """Returns where each partition starts."""
    places = [0] * len(ends)
    named: set[int] = set()
    for index, after in enumerate(request.after):
        field = f"after[{index}]"
        if after.partition >= len(ends):
            known = f"the log has partitions 0 to {len(ends) - 1}"
            raise InvalidRequestError(Violation(f"{field}.partition", known))
        if after.partition in named:
            raise InvalidRequestError(
                Violation(f"{field}.partition", "is named twice; name it once")
            )
        named.add(after.partition)
        if after.sequence > ends[after.partition]:
            raise CursorExpiredError(
                f"{field}: partition {after.partition} ends at {ends[after.partition]}, before "
                f"{after.sequence}; the place is of another store: export from the first"
            )
        places[after.partition] = after.sequence
    return places


def _chunks(entries: Sequence[LogEntry]) -> list[list[LogEntry]]:
    """Cuts entries into messages of about `BATCH_BYTES`."""
    chunks: list[list[LogEntry]] = []
    size = BATCH_BYTES
    for entry in entries:
        if size + len(entry.encoded) > BATCH_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(entry)
        size += len(entry.encoded)
    return chunks


def _row(command: NumberedCommand) -> CommandRow:
    number, stream, row = command
    answer = CommandRow(
        number=number,
        stream=stream,
        command_id=row.command_id,
        digest=row.digest,
        last_version=row.last_version,
        event_count=row.event_count,
    )
    answer.append_time.FromMicroseconds(row.append_time_us)
    return answer
