"""Between decide and append: one stream's waiting commands become one conditional append.

A lane is the only way to a stream. Its commands are decided one after the other, each on the state
that the one before has left, and go out together; nothing else is decided until the store has
answered.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from command_svc.command import Answer, Category, Command, DecidedEvent, Outcome
from command_svc.decide import decide_command, evolve_state, met
from command_svc.encode import Encoder, command_row
from command_svc.recent import RecentCommands
from eventspine.domain.errors import EventspineError
from eventspine.rpc.errors import CommandIdReusedError, DeadlineExceededError
from eventspine.rpc.limits import COMMAND_BYTES_MAX, EVENTS_MAX
from eventspine.storage.records import Append, CommandRow, Head, NewRecord

BATCH_COMMANDS_MAX = 500
"""How many commands of one stream go out together at most."""

Settle = Callable[[Command, Outcome], None]


class Lane:
    """One stream: what waits for it, and its state as it is in the store.

    Attributes:
        head: Its end; None when it has to be loaded.
        state: The state at `head`; None without an aggregate.
        active: Whether it is being loaded, decided, stored or settled, or waits for that.
        taken: The commands of the batch that is being stored or settled.
    """

    __slots__ = ("active", "category", "head", "state", "stream", "taken", "waiting")

    def __init__(self, stream: str, category: Category) -> None:
        """Makes a lane that has not been loaded."""
        self.stream = stream
        self.category = category
        self.waiting: deque[Command] = deque()
        self.head: Head | None = None
        self.state: Any = None
        self.active = False
        self.taken: Sequence[Command] = ()

    def forget(self) -> None:
        """Drops what was decided on, because it may not be what is stored."""
        self.head = None
        self.state = None


class Mismatch(NamedTuple):
    """An expectation that was not met; `version` is the one that was found."""

    version: int


class Batch:
    """Commands of one lane that were decided together.

    Attributes:
        head: The stream's end after the records of the batch.
        stored: The commands that the append stores, in step with `rows`.
        unstored: Commands that store nothing, each with what its caller gets once it is certain.
        taken: All of them, in order.
        spoilt: Whether an evolver failed, so that the lane's state is of no use any more.
    """

    __slots__ = (
        "byte_count",
        "head",
        "ids",
        "lane",
        "records",
        "rows",
        "spoilt",
        "start",
        "stored",
        "taken",
        "unstored",
    )

    def __init__(self, lane: Lane, head: Head) -> None:
        """Starts a batch at the end of a stream."""
        self.lane = lane
        self.start = head
        self.head = head
        self.records: list[NewRecord] = []
        self.rows: list[CommandRow] = []
        self.stored: list[Command] = []
        self.unstored: list[tuple[Command, Outcome | Mismatch]] = []
        self.taken: list[Command] = []
        self.ids: set[str] = set()
        self.byte_count = 0
        self.spoilt = False

    def has_room(self, events: tuple[DecidedEvent, ...]) -> bool:
        """Returns whether the events of one more command fit; a first command always does."""
        if not self.records:
            return True
        size = self.byte_count
        for event in events:
            size += len(event.payload)
        return len(self.records) + len(events) <= EVENTS_MAX and size <= COMMAND_BYTES_MAX

    def append(self) -> Append:
        """Returns the one append that stores all of `stored`."""
        return Append(
            self.lane.stream,
            self.start.version,
            tuple(self.records),
            tuple(self.rows),
            self.head.chain,
        )


class Batcher:
    """Takes waiting commands out of lanes and decides them."""

    def __init__(self, encoder: Encoder, recent: RecentCommands, settle: Settle) -> None:
        """Decides with these; `settle` gives an outcome to a caller."""
        self._encoder = encoder
        self._recent = recent
        self._settle = settle

    def batch(self, lane: Lane, head: Head, *, now: float, append_time_us: int) -> Batch:
        """Decides what waits in a lane, in order, as much as goes out together.

        Args:
            lane: A lane that is loaded and has nothing in flight.
            head: The lane's head.
            now: The event loop's time, for deadlines.
            append_time_us: The time that the records get.
        """
        batch = Batch(lane, head)
        lane.taken = batch.taken
        waiting = lane.waiting
        while waiting and len(batch.taken) < BATCH_COMMANDS_MAX and not batch.spoilt:
            command = waiting[0]
            if command.header.command_id in batch.ids:
                break  # The one before it may be stored; its answer is this one's answer too.
            if not self._answered(command, now):
                if not self._decide(batch, command, append_time_us):
                    break
                batch.taken.append(command)
                batch.ids.add(command.header.command_id)
            waiting.popleft()
        return batch

    def _answered(self, command: Command, now: float) -> bool:
        """Settles a command that needs no decision; returns whether it did."""
        if command.caller.gone:
            self._settle(command, DeadlineExceededError("the caller has gone; nothing was stored"))
        elif command.deadline <= now:
            text = "the deadline passed before the command was decided; nothing was stored"
            self._settle(command, DeadlineExceededError(text))
        elif row := self._recent.get(command.stream, command.header.command_id):
            self._settle(command, repeated(command, row))
        else:
            return False
        return True

    def _decide(self, batch: Batch, command: Command, append_time_us: int) -> bool:
        """Decides one command into the batch; False when there is no room for it."""
        header = command.header
        lane = batch.lane
        if not met(header.expected, batch.head.version):
            batch.unstored.append((command, Mismatch(batch.head.version)))
            return True
        try:
            events = decide_command(lane.category, lane.state, command.content)
        except EventspineError as error:
            batch.unstored.append((command, error))
            return True
        if header.dry_run:
            answer = Answer(batch.head.version, 0, would_append=events)
            batch.unstored.append((command, answer))
            return True
        if not batch.has_room(events):
            return False
        try:
            lane.state = evolve_state(lane.category, lane.state, events)
        except EventspineError as error:
            batch.spoilt = True
            batch.unstored.append((command, error))
            return True
        self._store(batch, command, events, append_time_us)
        return True

    def _store(
        self, batch: Batch, command: Command, events: tuple[DecidedEvent, ...], append_time_us: int
    ) -> None:
        encode = self._encoder.encode_command
        records, batch.head = encode(command, events, batch.head, append_time_us)
        batch.records += records
        for event in events:
            batch.byte_count += len(event.payload)
        batch.rows.append(command_row(command, batch.head, len(records), append_time_us))
        batch.stored.append(command)


def repeated(command: Command, row: CommandRow) -> Outcome:
    """Returns what a command gets whose id was stored before."""
    if not row.is_of(command.digest):
        return CommandIdReusedError(
            f"command id {row.command_id!r} was used on {command.stream!r} with other content;"
            f" choose a new one for a new command",
            stream=command.stream,
            command_id=row.command_id,
        )
    return Answer(row.last_version, row.event_count, replayed=True)
