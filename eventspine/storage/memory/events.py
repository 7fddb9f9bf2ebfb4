"""Events by stream, in memory; promise: what every other backend answers, in the fewest words."""

import secrets
from bisect import bisect_right
from collections.abc import Sequence

from eventspine.storage.identity import StoreIdentity
from eventspine.storage.records import (
    GENESIS,
    Append,
    CommandIdReused,
    CommandRow,
    Conflict,
    Head,
    NumberedCommand,
    Outcome,
    Replayed,
    Stored,
    StreamHead,
    StreamRecord,
)


def memory_identity() -> StoreIdentity:
    """Returns the identity of a new store in memory, with an id of its own."""
    return StoreIdentity(
        backend="memory",
        location="",
        durability="kept in memory: an acknowledged event is gone when the process ends",
        weaknesses=("nothing is kept; start it with a file (`eventspine dev --db FILE`)",),
        store_id=secrets.token_hex(16),
        ancestors={},
    )


class MemoryEventStore:
    """The reference of the port `EventStore`. It does not sequence: a sequencer fills the log."""

    def __init__(self) -> None:
        """Starts empty."""
        self._records: dict[str, list[StreamRecord]] = {}
        self._chains: dict[str, bytes] = {}
        self._known: dict[tuple[str, str], CommandRow] = {}
        self._commands: list[NumberedCommand] = []
        self._names: list[str] = []

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Stores each append or not, on its own; see the port."""
        return [self._append(append) for append in appends]

    async def read(
        self, stream: str, *, after: int = 0, limit: int = 500, backwards: bool = False
    ) -> list[StreamRecord]:
        """Reads a part of a stream; see the port."""
        records = self._records.get(stream, [])
        if not backwards:
            return records[after : after + limit]
        end = len(records) if after == 0 else min(after - 1, len(records))
        return records[max(end - limit, 0) : end][::-1]

    async def head(self, stream: str) -> Head:
        """Returns the end of a stream; see the port."""
        return self._head(stream)

    async def heads(self, *, after: str = "", limit: int = 500) -> list[StreamHead]:
        """Scans the streams that have events, in order of their names; see the port."""
        if len(self._names) < len(self._records):
            # Python orders text by code point, which is the order of its UTF-8 bytes.
            self._names = sorted(self._records)
        names = self._names
        first = bisect_right(names, after)
        return [StreamHead(name, *self._head(name)) for name in names[first : first + limit]]

    async def command(self, stream: str, command_id: str) -> CommandRow | None:
        """Returns what is remembered of a command; see the port."""
        return self._known.get((stream, command_id))

    async def commands(self, *, after: int = 0, limit: int = 500) -> list[NumberedCommand]:
        """Scans the commands in the order in which they were stored; see the port."""
        return self._commands[after : after + limit]

    def _append(self, append: Append) -> Outcome:
        stream = append.stream
        for command in append.commands:
            known = self._known.get((stream, command.command_id))
            if known is not None:
                same = known.is_of(command.digest)
                return Replayed(known) if same else CommandIdReused(known)
        head = self._head(stream)
        if head.version != append.expected_version:
            return Conflict(head)
        for command in append.commands:
            self._known[stream, command.command_id] = command
            self._commands.append(NumberedCommand(len(self._commands) + 1, stream, command))
        if append.records:
            self._records.setdefault(stream, []).extend(map(StreamRecord._make, append.records))
            self._chains[stream] = append.chain
        return Stored(None)

    def _head(self, stream: str) -> Head:
        records = self._records.get(stream)
        return Head(len(records), self._chains[stream]) if records else Head(0, GENESIS)
