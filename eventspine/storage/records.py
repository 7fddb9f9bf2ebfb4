"""What goes in and out of the storage ports: plain values, the same for every backend."""

from collections.abc import Mapping
from typing import NamedTuple

GENESIS = bytes(32)
"""The chain hash before version 1."""


class Head(NamedTuple):
    """The end of a stream.

    Attributes:
        version: Its last version; 0 when the stream has no event.
        chain: The chain hash of that version; `GENESIS` when there is none. 32 bytes.
    """

    version: int
    chain: bytes


class StreamHead(NamedTuple):
    """A stream and its end, as a scan of all heads finds it."""

    stream: str
    version: int
    chain: bytes


class NewRecord(NamedTuple):
    """An event to be stored: what a backend needs to know beside the encoded EventRecord."""

    stream_version: int
    type: str
    encoded: bytes


UNKNOWN_DIGEST = b""
"""In place of a command's digest that was lost: events were brought back without it."""


class CommandRow(NamedTuple):
    """What is remembered of a command, so that it takes effect once.

    Attributes:
        digest: SHA-256 over the content; the same id with another digest is another command.
            `UNKNOWN_DIGEST` takes any content for the same.
        last_version: The version of the stream just after the command.
        event_count: How many events it stored; 0 when there was nothing to do.
        append_time_us: When it was stored, in microseconds since 1970 UTC.
    """

    command_id: str
    digest: bytes
    last_version: int
    event_count: int
    append_time_us: int

    def is_of(self, digest: bytes) -> bool:
        """Tells whether a command with this digest is the one that is remembered."""
        return self.digest in (digest, UNKNOWN_DIGEST)


class NumberedCommand(NamedTuple):
    """A command row with its stream and its number in the store (from 1, ascending)."""

    number: int
    stream: str
    row: CommandRow


class Append(NamedTuple):
    """One conditional append to one stream: all of it is stored, or none.

    Attributes:
        expected_version: The version that the stream must be at; 0 for a new one.
        records: The events, versions following `expected_version` without gaps. May be empty, when
            the commands had nothing to do.
        commands: The commands that decided them, one or more, ids all different.
        chain: The chain hash after the last record (the one before, when there are no records).
    """

    stream: str
    expected_version: int
    records: tuple[NewRecord, ...]
    commands: tuple[CommandRow, ...]
    chain: bytes


class Stored(NamedTuple):
    """All of the append is stored durably.

    Attributes:
        first_sequence: The sequence of the first record in log partition 0, where the store itself
            sequences as it appends; None where a sequencer does that later, or without records.
    """

    first_sequence: int | None


class Replayed(NamedTuple):
    """Nothing was stored: this command of the append had been stored before, with this result."""

    command: CommandRow


class Conflict(NamedTuple):
    """Nothing was stored: the stream is at another version than expected."""

    actual: Head


class CommandIdReused(NamedTuple):
    """Nothing was stored: this command id had been stored before with another digest."""

    command: CommandRow


Outcome = Stored | Replayed | Conflict | CommandIdReused


class StreamRecord(NamedTuple):
    """A record read from its stream. `encoded` is the EventRecord as it was stored."""

    stream_version: int
    type: str
    encoded: bytes


class LogEntry(NamedTuple):
    """A record in its place in the log, or on its way there, with sequence 0.

    Attributes:
        encoded: The EventRecord as it was stored.
        republished: Only of records on their way: this one may have been published before, by
            whoever stored it or found it missing. What is in the log never says so.
    """

    partition: int
    sequence: int
    stream: str
    stream_version: int
    type: str
    encoded: bytes
    republished: bool = False


class StreamPlace(NamedTuple):
    """A version of a stream, of which the place in the log is asked."""

    stream: str
    stream_version: int


class LogPlace(NamedTuple):
    """A place in the log."""

    partition: int
    sequence: int


class Snapshot(NamedTuple):
    """A folded state, to shorten a cold load.

    Attributes:
        code_version: The aggregate's version that folded it; another one ignores it.
        chain: The chain hash of `stream_version`.
        state: The encoded state message.
    """

    stream: str
    stream_version: int
    code_version: int
    chain: bytes
    state: bytes


class PartialRow(NamedTuple):
    """What one log partition has contributed to a row.

    Attributes:
        sequence: The last sequence folded into it.
        encoded: The encoded row message; None where the partition's events deleted it.
    """

    partition: int
    sequence: int
    encoded: bytes | None


class KeyedRow(NamedTuple):
    """A row of a list: its encoded key and its partials that exist, one or more."""

    key: bytes
    partials: tuple[PartialRow, ...]


class Parked(NamedTuple):
    """A key of a build that waits, because an event could not be applied to it.

    Attributes:
        sequence: The event that failed.
        error: What went wrong, for people.
        waiting: The sequences of the events that wait on the key, ascending, the failed one first.
            The processor bounds them, and finds what waits behind the last one in the log.
        parked_time_us: When, in microseconds since 1970 UTC.
    """

    key: bytes
    partition: int
    sequence: int
    stream: str
    stream_version: int
    error: str
    waiting: tuple[int, ...]
    parked_time_us: int


class ViewBatch(NamedTuple):
    """What folding one batch of one log partition into one build has changed; saved as one.

    Attributes:
        build_id: The build, `<view>@<number>`.
        after: The progress that the batch started from; a save from elsewhere is refused.
        through: The progress after it.
        rows: By encoded key, the partial row of `partition`. Each key once.
        parked: By encoded key, the key's whole parked entry; None releases the key.
    """

    build_id: str
    partition: int
    after: int
    through: int
    rows: Mapping[bytes, PartialRow]
    parked: Mapping[bytes, Parked | None]


class Build(NamedTuple):
    """One build of a view.

    Attributes:
        number: From 1, counted up per view; never used again.
        code_version: The version of the view's code that folds it.
        state: `building`, `ready`, `serving` or `standby`.
        paused: Whether an operator has paused it.
    """

    number: int
    code_version: int
    state: str
    paused: bool


class Builds(NamedTuple):
    """All builds of one view, and the revision that a change must name."""

    revision: int
    builds: tuple[Build, ...]


class Lineage(NamedTuple):
    """The identity of a store, and of those that it was restored from.

    Attributes:
        store_id: This store's own id, a random one.
        ancestors: By id of each earlier store, the ends of the log partitions up to which this
            store has the same events.
    """

    store_id: str
    ancestors: Mapping[str, tuple[int, ...]]


class RowChange(NamedTuple):
    """A row as it was just saved, for those who watch it. `encoded` None: it was deleted."""

    build_id: str
    partition: int
    key: bytes
    row: PartialRow


class ProgressChange(NamedTuple):
    """A build has passed this place of the log.

    Attributes:
        after: All its row changes above this place, up to `sequence`, came before. What was saved
            and not told, because a process died between the two, is at or below it.
    """

    build_id: str
    partition: int
    sequence: int
    after: int = 0


class BuildsChange(NamedTuple):
    """The builds of a view have changed; look them up again."""

    view: str


class HintWriter(NamedTuple):
    """A process that leaves hints, as others see it.

    Attributes:
        name: Its own, a random one; never used again by another process.
        beat: A number that changes about every second for as long as the process lives.
        first_window: The oldest window that may have hints.
        last_window: The newest one; there may be hints in the next one already.
    """

    name: str
    beat: int
    first_window: int
    last_window: int


class AuditMark(NamedTuple):
    """How far the auditor has come, in all of its cycles.

    Attributes:
        through_us: Every event that was stored before this time is in the log once; 0 before the
            first complete cycle. Microseconds since 1970 UTC, by the clock of the auditing process.
        ended_us: When the last cycle ended, complete or not; 0 before the first.
        cycles: How many cycles were complete.
        streams: How many streams the last complete cycle compared.
        republished: How many records were missing from the log and sent again, in all cycles.
        chains: How many chains of streams were verified, in all cycles.
        broken: The streams whose chain did not hold in the last cycle, at most 100.
    """

    through_us: int = 0
    ended_us: int = 0
    cycles: int = 0
    streams: int = 0
    republished: int = 0
    chains: int = 0
    broken: tuple[str, ...] = ()
