"""Steps 6 and 8 in the model: projectors that save one row, and a subscriber with its cursor.

The row's value is the very list of entries that were folded into it, so that nothing can cancel
out. A subscriber may be disconnected at any step: what it has is its cursor.
"""

from collections.abc import Iterator

from tests.faults.model import Projector, Rules, Scope, State, Step, put
from tests.faults.model_append import heads

CLOCKS = (9, 0)
"""How far the clock of each writer is ahead."""


def growth_steps(state: State) -> Iterator[Step]:
    """The log takes what is stored, by the book."""
    for stream, end in enumerate(heads(state)):
        version = 1 + sum(entry[0] == stream for entry in state.log)
        if version <= end:
            log = (*state.log, (stream, version))
            yield f"version {version} of stream {stream} is sequenced", state._replace(log=log)


def follower_steps(scope: Scope, rules: Rules, state: State) -> Iterator[Step]:
    """Yields what projectors and the subscriber can do, and row writes that arrive late."""
    for place, projector in enumerate(state.projectors):
        fresh = put(state.projectors, place, loaded(state))
        if fresh != state.projectors:
            yield f"projector {place} takes over", state._replace(projectors=fresh)
        if projector != ():
            yield from _fold_steps(rules, state, place)
    for sequence, value in state.saves:
        row = _row(rules, state, sequence, value)
        if row != state.row:
            yield f"a row of sequence {sequence} is saved late", _saved(rules, state, row)
    for sequence in deliverable(scope, rules, state):
        received = (*state.received, sequence)
        yield f"the subscriber gets {sequence}", state._replace(received=received)


def loaded(state: State) -> Projector:
    """Returns what a projector knows after a take-over."""
    sequence, value = state.row
    return Projector(state.progress, value, sequence)


def fold(rules: Rules, state: State, place: int, through: int) -> State:
    """A projector folds the log up to a sequence and sends the row to the view."""
    projector = state.projectors[place]
    value = projector.value
    for sequence in range(projector.progress + 1, through + 1):
        if sequence > projector.sequence or rules.row_without_its_sequence:
            value = (*value, state.log[sequence - 1])
    seen = max(through, projector.sequence)
    return state._replace(
        saves=state.saves | {(seen, value)},
        progress=through if rules.progress_before_rows else state.progress,
        projectors=put(
            state.projectors,
            place,
            projector._replace(value=value, sequence=seen, through=through),
        ),
    )


def save(rules: Rules, state: State, place: int) -> State:
    """The view has a projector's row; or, when it has that already, the projector's progress."""
    projector = state.projectors[place]
    if not projector.saved:
        state = _saved(rules, state, _row(rules, state, projector.sequence, projector.value))
        saved = projector._replace(saved=True)
        return state._replace(projectors=put(state.projectors, place, saved))
    done = projector._replace(progress=projector.through, through=0, saved=False)
    return state._replace(progress=projector.through, projectors=put(state.projectors, place, done))


def deliverable(scope: Scope, rules: Rules, state: State) -> list[int]:
    """Returns the sequences of which one may be delivered next."""
    following = range(len(state.received) + 1, len(state.log) + 1)
    if rules.bus_trusted_over_the_log:
        return list(range(max(state.received, default=0) + 1, len(state.log) + 1))
    if not rules.cursor_by_time:
        return list(following[:1])
    times = {place: _time(scope, state, place) for place in range(1, len(state.log) + 1)}
    cursor = max((times[sequence] for sequence in state.received), default=0)
    return sorted((s for s in times if times[s] > cursor), key=times.__getitem__)[:1]


def _fold_steps(rules: Rules, state: State, place: int) -> Iterator[Step]:
    projector = state.projectors[place]
    if projector.through:
        yield f"projector {place} saves", save(rules, state, place)
        return
    for through in range(projector.progress + 1, len(state.log) + 1):
        yield f"projector {place} folds up to {through}", fold(rules, state, place, through)


def _row(
    rules: Rules, state: State, sequence: int, value: tuple[tuple[int, int], ...]
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Returns the row after a write that is stamped with its sequence: an older one loses."""
    if rules.default_timestamps_of_rows or sequence > state.row[0]:
        return sequence, value
    return state.row


def _saved(rules: Rules, state: State, row: tuple[int, tuple[tuple[int, int], ...]]) -> State:
    """Puts the row in, and forgets writes in flight that cannot change it any more."""
    saves = state.saves
    if not rules.default_timestamps_of_rows:
        saves = frozenset(sent for sent in saves if sent[0] > row[0])
    return state._replace(row=row, saves=saves)


def _time(scope: Scope, state: State, sequence: int) -> int:
    """Returns the append time of an entry, by the clock of the writer that stored it."""
    stream, version = state.log[sequence - 1]
    rows = dict(row for rows in state.stored[stream] for row in rows)
    return version + CLOCKS[scope.requests[rows[version]][1]]
