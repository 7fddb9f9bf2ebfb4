"""The way of an event as a small model: its state, its switches, and a search of all that can be.

The model says what the services do in steps that a fault can fall between; `search` visits every
state that any order of steps and faults leads to, breadth first, so that the way to a broken
promise is the shortest there is. States that differ only in which of two equal processes is which
are one state.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

NEW, WORKING, LOST, FAILED = 0, -1, -2, -3
"""What became of a request; above 0 it is the version that its acknowledgement named."""

Request = tuple[int, int, int]
"""Which command it is, which writer it is sent to, and the stream."""

Row = tuple[int, int]
"""A stored event: its version, and the request that decided it."""

Stored = tuple[tuple[tuple[Row, ...], ...], ...]
"""By stream and bucket, the rows in the order in which they were stored."""

Batch = tuple[int, int, int, int]
"""A conditional append: stream, bucket, expected version, request."""

Message = tuple[int, int, bool]
"""A record on the bus: stream, version, and whether it is marked as republished."""

Entry = tuple[int, int]
"""A record in the log: stream and version."""


class Writer(NamedTuple):
    """A command service with an append under way."""

    request: int
    expected: int
    bucket: int
    unknown: bool


class Sequencer(NamedTuple):
    """What a sequencer has in memory.

    Attributes:
        positions: By stream, the last version in the log; -1 where it has to be looked up.
        taken: The message that it works on.
        extension: What it has sent to the log and not heard of yet.
        flushing: The end of the log that a flush of positions under way began with; -1 for none.
    """

    end: int
    positions: tuple[int, ...]
    taken: Message | tuple[()] = ()
    extension: tuple[Entry, ...] = ()
    flushing: int = -1


class Projector(NamedTuple):
    """What a projector has in memory: where it is, the row, and what it is about to save."""

    progress: int
    value: tuple[Entry, ...]
    sequence: int
    through: int = 0
    saved: bool = False


class State(NamedTuple):
    """All that a step can depend on.

    Attributes:
        stored: What the event store has.
        sent: Appends that may still reach the store, though nobody waits for them.
        unpublished: By writer, what is stored and not on the bus yet; a crash forgets it.
        hints: By writer, the streams of its open window.
        orphans: The streams in open windows of writers that died.
        bus: Messages that no sequencer has committed; any may come, in any order, again and again.
        extensions: Extensions that may still reach the log: the end they expect, and the entries.
        positions: By stream, the position as it is stored; it may be behind the log.
        flushed: The place of the log up to which positions are stored.
        verified: By stream, the version up to which the auditor says that all is in the log.
        saves: Row writes that may still reach the view: sequence and value.
        received: The sequences that a subscriber got, over all of its connections.
    """

    stored: Stored
    sent: frozenset[Batch]
    writers: tuple[Writer | tuple[()], ...]
    unpublished: tuple[tuple[Message, ...], ...]
    answers: tuple[int, ...]
    hints: tuple[frozenset[int], ...]
    orphans: frozenset[int]
    crashes: int
    bus: frozenset[Message]
    log: tuple[Entry, ...]
    extensions: frozenset[tuple[int, tuple[Entry, ...]]]
    positions: tuple[int, ...]
    flushed: int
    verified: tuple[int, ...]
    sequencers: tuple[Sequencer | tuple[()], ...]
    row: tuple[int, tuple[Entry, ...]]
    progress: int
    saves: frozenset[tuple[int, tuple[Entry, ...]]]
    projectors: tuple[Projector | tuple[()], ...]
    received: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much of the world one search has.

    Attributes:
        requests: The requests that clients make, each once.
        bucket_size: How many versions a bucket of a stream holds.
        late: Whether appends and extensions may be applied late, or their replies be lost.
        crashes: How often writers may die, at any step.
        lossy: Whether the bus may forget messages that are not committed.
        repairs: Whether hints are written and the windows of dead writers repaired.
        audits: Whether the auditor runs.
        sequencers: How many sequencers share the partition; two at most.
        projectors: How many projectors fold the view, two at most; 0 leaves it out.
        grown: Whether all requests are stored from the start, and the log is filled by the book, to
            look at what follows it.
    """

    requests: tuple[Request, ...]
    bucket_size: int = 100
    late: bool = False
    crashes: int = 0
    lossy: bool = False
    repairs: bool = False
    audits: bool = False
    sequencers: int = 0
    projectors: int = 0
    grown: bool = False

    @property
    def streams(self) -> int:
        """How many streams there are."""
        return 1 + max(stream for _, _, stream in self.requests)

    @property
    def writers(self) -> int:
        """How many writers there are."""
        return 1 + max(writer for _, writer, _ in self.requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the services do otherwise than they should: each switch is a negative control."""

    no_command_row: bool = False
    retry_on_another_host_is_a_conflict: bool = False
    unknown_is_a_failure: bool = False
    a_read_settles_an_unknown: bool = False
    acknowledged_before_stored: bool = False
    appended_without_condition: bool = False
    command_looked_up_in_the_newest_bucket_only: bool = False
    two_tails: bool = False
    no_auditor: bool = False
    positions_trusted_over_the_log: bool = False
    flushed_place_before_positions: bool = False
    default_timestamps_of_positions: bool = False
    log_extended_without_condition: bool = False
    positions_before_the_log_write: bool = False
    republished_counts_as_verified: bool = False
    first_version_not_looked_up: bool = False
    offsets_before_the_log_write: bool = False
    repair_looks_once: bool = False
    row_without_its_sequence: bool = False
    default_timestamps_of_rows: bool = False
    progress_before_rows: bool = False
    cursor_by_time: bool = False
    bus_trusted_over_the_log: bool = False


Step = tuple[str, State]
"""What happened, in words, and the state after it."""

Steps = Callable[[Scope, Rules, State], Iterator[Step]]


@dataclass(frozen=True, slots=True)
class Result:
    """What a search found.

    Attributes:
        states: How many different states it has visited.
        violation: The promise that was broken, in words; empty when none was.
        trace: The steps that lead to the violation, shortest way.
    """

    states: int
    violation: str
    trace: tuple[str, ...]


def first_state(scope: Scope) -> State:
    """Returns the state before the first request."""
    writers, streams = scope.writers, scope.streams
    stored: list[tuple[Row, ...]] = [()] * streams
    if scope.grown:
        for request, (_, _, stream) in enumerate(scope.requests):
            stored[stream] += ((len(stored[stream]) + 1, request),)
    return State(
        stored=tuple((rows,) for rows in stored),
        sent=frozenset(),
        writers=((),) * writers,
        unpublished=((),) * writers,
        answers=(LOST if scope.grown else NEW,) * len(scope.requests),
        hints=(frozenset(),) * writers,
        orphans=frozenset(),
        crashes=scope.crashes,
        bus=frozenset(),
        log=(),
        extensions=frozenset(),
        positions=(0,) * streams,
        flushed=0,
        verified=(0,) * streams,
        sequencers=((),) * scope.sequencers,
        row=(0, ()),
        progress=0,
        saves=frozenset(),
        projectors=((),) * scope.projectors,
        received=(),
    )


def put(items: tuple[Any, ...], place: int, item: Any) -> tuple[Any, ...]:
    """Returns a tuple with another item at a place."""
    return (*items[:place], item, *items[place + 1 :])


@contextmanager
def _uncollected() -> Iterator[None]:
    """Spares millions of tuples, none of them in a cycle, the collector's visits."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_uncollected()
def search(
    scope: Scope, rules: Rules, steps: Steps, broken: Callable[[Scope, Rules, State], str]
) -> Result:
    """Visits every state that can be reached, until a promise is broken.

    Args:
        scope: How much of the world there is.
        rules: Which negative control is on.
        steps: All that can happen next in a state, faults included.
        broken: Names the promise that a state breaks; empty when it breaks none.
    """
    first = first_state(scope)
    came: dict[State, tuple[State, str] | None] = {first: None}
    layer = [first]
    while layer:
        following: list[State] = []
        for state in layer:
            violation = broken(scope, rules, state)
            if violation:
                return Result(len(came), violation, _trace(came, state))
            for label, after in steps(scope, rules, state):
                merged = _canonical(after)
                if merged not in came:
                    came[merged] = (state, label)
                    following.append(merged)
        layer = following
    return Result(len(came), "", ())


def _canonical(state: State) -> State:
    """Puts processes that are equal in all but their place into one order."""
    sequencers, projectors = state.sequencers, state.projectors
    if len(sequencers) > 1 and sequencers[0] > sequencers[1]:
        state = state._replace(sequencers=tuple(sorted(sequencers)))
    if len(projectors) > 1 and projectors[0] > projectors[1]:
        state = state._replace(projectors=tuple(sorted(projectors)))
    return state


def _trace(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    labels: list[str] = []
    step = came[state]
    while step is not None:
        labels.append(step[1])
        step = came[step[0]]
    return tuple(reversed(labels))
