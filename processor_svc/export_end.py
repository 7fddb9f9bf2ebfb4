"""Where an export ends; promise: no partition of a backup ends between two events of one command.

A sequencer puts into the log what the bus has brought, which may be the first events of a command
without the last. A store that sequences as it appends has whole commands only.
"""

import asyncio
from collections.abc import Iterable, Sequence

from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.places import Places
from eventspine.storage.ports import EventLog, EventStore
from eventspine.storage.records import CommandRow, LogEntry, NumberedCommand, StreamPlace
from eventspine.v1.record_pb2 import EventRecord

LOOK_ENTRIES = 200
"""How far before its end a partition is looked at. The events of a command are published together,
so that few of others come between them."""


async def whole_ends(
    events: EventStore, log: EventLog, after: Sequence[int], ends: Sequence[int]
) -> tuple[int, ...]:
    """Moves the ends of a log back to where no command has begun that is not complete.

    Args:
        events: Where commands are looked up.
        log: The log.
        after: By partition, what no end is moved before.
        ends: By partition, an end.

    Raises:
        StoreUnavailableError: Store or log cannot be read.
    """
    found = []
    for partition, (place, end) in enumerate(zip(after, ends, strict=True)):
        begin = max(place, end - LOOK_ENTRIES)
        entries = await log.read(partition, after=begin, limit=end - begin) if begin < end else []
        # Without the events behind one command, another one may be without its last.
        while (cut := await _cut(events, entries)) < len(entries):
            entries = entries[:cut]
        found.append(begin + len(entries))
    return tuple(found)


async def check_whole(
    located: Places, commands: Iterable[NumberedCommand], ends: Sequence[int]
) -> None:
    """Finds commands that end beyond the ends, or nowhere, and begin before them.

    Raises:
        StoreUnavailableError: There is one, whose last events did not get to the log in time; or
            the log cannot be read.
    """
    several = [command for command in commands if command.row.event_count > 1]
    firsts = [StreamPlace(stream, first_version(row)) for _, stream, row in several]
    for (_, stream, row), place in zip(several, await located.find(firsts), strict=True):
        if place is not None and place.sequence <= ends[place.partition]:
            raise torn(stream, row)


def torn(stream: str, row: CommandRow) -> StoreUnavailableError:
    """Returns what ends an export that has a command's first events and not its last."""
    return StoreUnavailableError(
        f"the log has no more than the first events of command {row.command_id!r} of stream"
        f" {stream!r} yet; run `eventspine audit`, then try again",
        cause="the log is behind the store",
    )


async def _cut(events: EventStore, entries: Sequence[LogEntry]) -> int:
    """Returns how many leading entries come before the first command that is not complete."""
    last = {entry.stream: entry for entry in entries}
    rows = await asyncio.gather(*[_row(events, entry) for entry in last.values()])
    begun = {
        entry.stream: first_version(row)
        for entry, row in zip(last.values(), rows, strict=True)
        if row is not None and row.last_version > entry.stream_version
    }
    for index, entry in enumerate(entries):
        if entry.stream_version >= begun.get(entry.stream, entry.stream_version + 1):
            return index
    return len(entries)


async def _row(events: EventStore, entry: LogEntry) -> CommandRow | None:
    command_id = EventRecord.FromString(entry.encoded).command_id
    return await events.command(entry.stream, command_id)


def first_version(row: CommandRow) -> int:
    """Returns the version of the first event of a command that has any."""
    return row.last_version - row.event_count + 1
