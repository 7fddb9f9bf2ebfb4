"""The storage ports: what the services need of a backend, and all that they may know of it.

Each port has one suite in `tests/storage/` that every backend runs. All methods are coroutines of
the process's one event loop; none may be called from another thread.
"""

from collections.abc import Collection, Sequence
from typing import Protocol, Self

from eventspine.storage.records import (
    Append,
    AuditMark,
    Build,
    Builds,
    BuildsChange,
    CommandRow,
    Head,
    HintWriter,
    KeyedRow,
    LogEntry,
    LogPlace,
    NumberedCommand,
    Outcome,
    Parked,
    PartialRow,
    ProgressChange,
    RowChange,
    Snapshot,
    StreamHead,
    StreamPlace,
    StreamRecord,
    ViewBatch,
)


class EventStore(Protocol):
    """Events by stream, and the commands that caused them."""

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        """Stores each append or not, on its own; outcomes in the order of the appends.

        Two appends to one stream may stand in one call; the later one sees the earlier. A known
        command id decides before the version does.

        Raises:
            OutcomeUnknownError: Any of the appends may have been stored. Safe to call again.
            StoreUnavailableError: None of the appends was stored.
        """
        ...

    async def read(
        self, stream: str, *, after: int = 0, limit: int = 500, backwards: bool = False
    ) -> list[StreamRecord]:
        """Reads versions above `after` upwards; with `backwards`, versions below `after` downwards.

        Backwards, `after` 0 means from the last version. Fewer than `limit` records mean that the
        stream ends there; empty means that there are none.

        Raises:
            StoreUnavailableError: The store cannot read at the moment.
        """
        ...

    async def head(self, stream: str) -> Head:
        """Returns the end of a stream; version 0 where it has no event."""
        ...

    async def heads(self, *, after: str = "", limit: int = 500) -> list[StreamHead]:
        """Scans the streams that have events, in an order of the store's own.

        Args:
            after: The last name that a scan has returned; empty to begin.
            limit: How many streams at most. Fewer mean that the scan ends there. A stream that is
                new may stand before `after`.
        """
        ...

    async def command(self, stream: str, command_id: str) -> CommandRow | None:
        """Returns what is remembered of a command; None when it was never stored."""
        ...

    async def commands(self, *, after: int = 0, limit: int = 500) -> list[NumberedCommand]:
        """Scans the commands of all streams, to be gone on with after the last number until empty.

        In the order in which they were stored, where the store has that order. Where it has not, a
        number belongs to one scan, and one of an earlier scan leads to all commands once more.
        """
        ...


class SnapshotStore(Protocol):
    """The latest snapshot of each stream. Losing one costs time, never truth."""

    async def load(self, stream: str) -> Snapshot | None:
        """Returns the latest snapshot; None when there is none."""
        ...

    async def save(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot in place of an older one; an older one than kept is dropped."""
        ...


class LogIndex(Protocol):
    """Where in the log the events of streams are."""

    async def positions(self, places: Sequence[StreamPlace]) -> list[LogPlace | None]:
        """Returns where in the log each version of a stream is; None where it is not yet.

        Of a partition that another process extends, None may be some seconds old. Whoever waits
        for a place looks into the window of a `LogTail` first.
        """
        ...

    async def versions(self, streams: Sequence[str]) -> list[int]:
        """Returns the last version of each stream that is in the log; 0 for none.

        Of a partition that another process extends, it may be some seconds old.
        """
        ...


class EventLog(LogIndex, Protocol):
    """Every record once, in dense sequences, by partition."""

    async def extend(self, partition: int, after: int, entries: Sequence[LogEntry]) -> None:
        """Puts entries behind sequence `after`, which must be the end; all or none.

        Entries carry the sequences `after + 1`, `after + 2` … A store that sequences as it appends
        declines this method and `take_over`, in words, by `DeclinedError`.

        Raises:
            LogMovedError: The end is elsewhere. Nothing was written. Take over to go on.
            OutcomeUnknownError: All, nothing or a leading part is in the log. Take over to know.
            StoreUnavailableError: Nothing was written.
        """
        ...

    async def take_over(self, partition: int) -> int:
        """Gets ready to extend a partition, and returns its end, 0 for an empty one.

        From then on `versions` is exact for the streams of the partition, until somebody else
        extends it, which the next `extend` finds out.

        Raises:
            StoreUnavailableError: The log cannot be read.
        """
        ...

    async def read(self, partition: int, *, after: int = 0, limit: int = 500) -> list[LogEntry]:
        """Reads entries above `after`. Fewer than `limit` mean that the log ends there."""
        ...

    async def read_encoded(
        self, partition: int, *, after: int = 0, limit: int = 500
    ) -> list[bytes]:
        """Reads the records of the same entries, encoded; the first has sequence `after + 1`.

        For those who find all they need in the record.
        """
        ...

    async def ends(self) -> tuple[int, ...]:
        """Returns the last sequence of each partition, 0 for an empty one. Never an empty tuple."""
        ...


class HintStore(Protocol):
    """Streams that writers are about to change, so that what a crash leaves is found soon.

    Hints make repair quick. They are no guarantee: the auditor is.
    """

    async def note(self, writer: str, window: int, streams: Collection[str]) -> None:
        """Leaves hints in a window of a writer. Leaving one twice is fine.

        Raises:
            StoreUnavailableError: None was left.
            OutcomeUnknownError: They may have been left, or may be later.
        """
        ...

    async def beat(self, writer: HintWriter) -> None:
        """Tells that a writer lives, and which windows it has.

        Raises:
            StoreUnavailableError: It was not told.
            OutcomeUnknownError: It may have been told.
        """
        ...

    async def writers(self) -> list[HintWriter]:
        """Returns all writers that have told of themselves and are not forgotten, in no order."""
        ...

    async def streams(self, writer: str, window: int) -> list[str]:
        """Returns the hints of a window, in no order; empty where there are none."""
        ...

    async def drop(self, writer: str, window: int) -> None:
        """Deletes the hints of a window. Deleting what is not there is fine.

        Raises:
            StoreUnavailableError: They are still there.
            OutcomeUnknownError: They may still be there.
        """
        ...

    async def forget(self, writer: str) -> None:
        """Deletes what a writer has told of itself; its hints are dropped before. Again is fine."""
        ...


class AuditStore(Protocol):
    """How far the auditor has come; one mark for each store and tenant."""

    async def load(self) -> AuditMark:
        """Returns the mark; that of a store that was never audited has zeros.

        Raises:
            StoreUnavailableError: It cannot be read at the moment.
        """
        ...

    async def save(self, mark: AuditMark) -> None:
        """Keeps a mark in place of one whose last cycle ended earlier; drops it otherwise.

        Raises:
            StoreUnavailableError: It was not kept.
            OutcomeUnknownError: It may have been kept.
        """
        ...


class ViewStore(Protocol):
    """Rows of view builds, by encoded key; each row as one partial per log partition."""

    async def load(
        self, build_id: str, partition: int, keys: Sequence[bytes]
    ) -> dict[bytes, PartialRow]:
        """Returns the partials of one partition that exist, by key, deleted ones included."""
        ...

    async def save(self, batches: Sequence[ViewBatch]) -> None:
        """Saves each batch whole: rows, parked keys and progress.

        Raises:
            ProgressMovedError: A batch did not start at the build's progress, or the build is gone.
                Nothing of any batch was saved.
            StoreUnavailableError: Nothing was saved.
        """
        ...

    async def get(self, build_id: str, key: bytes) -> tuple[PartialRow, ...]:
        """Returns the partials of one row that exist and are not deleted; empty without a row."""
        ...

    async def list(
        self, build_id: str, *, prefix: bytes = b"", after: bytes = b"", limit: int = 500
    ) -> list[KeyedRow]:
        """Reads rows whose key starts with `prefix` and is above `after`, in order of the key.

        Deleted partials are left out. Fewer rows than `limit` mean that the list ends there.
        """
        ...

    async def progress(self, build_id: str) -> tuple[int, ...]:
        """Returns the sequence that a build has passed, for each partition; 0 for not begun."""
        ...

    async def drop(self, build_id: str) -> None:
        """Deletes rows, progress and parked keys of a build. Deleting what is not there is fine."""
        ...


class ViewRegistry(Protocol):
    """Which builds of which views there are, and what they have parked."""

    async def views(self) -> list[str]:
        """Returns the names of the views that have builds, in order."""
        ...

    async def builds(self, view: str) -> Builds:
        """Returns the builds of a view, oldest first; revision 0 and none for an unknown view."""
        ...

    async def put(self, view: str, revision: int, builds: Sequence[Build]) -> bool:
        """Replaces the builds of a view if they are still at `revision`. False: they are not."""
        ...

    async def parked(self, build_id: str) -> list[Parked]:
        """Returns the parked keys of a build, in order of key and partition."""
        ...


BusMessage = LogEntry | RowChange | ProgressChange | BuildsChange


class BusReader(Protocol):
    """An async iterator over batches of messages, which has to be closed (`contextlib.aclosing`).

    A step may be cancelled, also by a timeout, and taken again: nothing is lost by that.
    """

    def __aiter__(self) -> Self:
        """Returns itself."""
        ...

    async def __anext__(self) -> Sequence[BusMessage]:
        """Waits for messages and returns all that are there."""
        ...

    async def aclose(self) -> None:
        """Ends the iteration, also for a step that waits. Closing twice is fine."""
        ...


class GroupReader(BusReader, Protocol):
    """What one consumer of a group reads."""

    @property
    def owned(self) -> frozenset[int]:
        """The partitions whose messages come to this consumer now; empty while it joins."""
        ...


class ShareReader(Protocol):
    """An async iterator over sets of partitions, which has to be closed (`contextlib.aclosing`).

    A step may be cancelled, also by a timeout, and taken again: nothing is lost by that.
    """

    def __aiter__(self) -> Self:
        """Returns itself."""
        ...

    async def __anext__(self) -> frozenset[int]:
        """Waits until the set is another one and returns the whole set, which may be empty."""
        ...

    async def aclose(self) -> None:
        """Gives all partitions up, also for a step that waits. Closing twice is fine."""
        ...


class Bus(Protocol):
    """Distributes messages to whoever follows. At least once on `consume`; `tail` may miss.

    Channels: `events` (raw records, sequence 0), `log` (sequenced), `changes` (rows, progress,
    builds).
    """

    async def publish(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> None:
        """Hands messages on, in order. Returns when the bus has them, not when they are read.

        Raises:
            BusUnavailableError: It may have some of them, not all. Safe to call again.
        """
        ...

    def publish_now(self, channel: str, partition: int, messages: Sequence[BusMessage]) -> bool:
        """Hands messages on, in order, if that takes no waiting.

        Returns:
            Whether they were. If not, none was, and `publish` is the way.
        """
        ...

    def consume(self, channel: str, group: str) -> GroupReader:
        """Iterates over batches for a group; what it has taken counts as done at the next step.

        A consumer that ends before that leaves its batch to the next one of the group. Ends when
        the iterator is closed.
        """
        ...

    def tail(self, channel: str) -> BusReader:
        """Iterates over batches from now on.

        An empty batch says that messages were left out, because this reader was too slow; it reads
        the store and goes on.
        """
        ...

    def shares(self, group: str) -> ShareReader:
        """Iterates over the sets of log partitions that this process owns in a group.

        Of all processes that ask, each partition belongs to one, but for a moment in which the one
        before may not know yet that it has lost it: what it writes must be fenced by the store.
        """
        ...
