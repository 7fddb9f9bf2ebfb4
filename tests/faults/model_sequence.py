"""Step 5 in the model: the bus, two sequencers with lazy positions, and the auditor.

A sequencer may forget everything at any step and take over again: that is its crash, its time-out
and its rebalance in one. One that does not is a zombie, and goes on with what it had in memory.
"""

from collections.abc import Iterator

from tests.faults.model import Entry, Message, Rules, Scope, Sequencer, State, Step, put
from tests.faults.model_append import heads, republished


def bus_steps(state: State) -> Iterator[Step]:
    """The bus forgets a message that is not committed."""
    for message in state.bus:
        yield f"the bus loses {message}", state._replace(bus=state.bus - {message})


def audit_steps(rules: Rules, state: State) -> Iterator[Step]:
    """The auditor compares one stream's head with its position."""
    if rules.no_auditor:
        return
    for stream, end in enumerate(heads(state)):
        missing = republished(state, stream, end)
        if missing and not missing <= state.bus:
            yield f"the auditor republishes {missing}", state._replace(bus=state.bus | missing)
        if (not missing or rules.republished_counts_as_verified) and end > state.verified[stream]:
            verified = put(state.verified, stream, end)
            yield (
                f"the auditor verifies stream {stream}",
                state._replace(verified=verified, bus=state.bus | missing),
            )


def sequencer_steps(scope: Scope, rules: Rules, state: State) -> Iterator[Step]:
    """Yields what each sequencer can do, and extensions of the log that arrive late."""
    for place, sequencer in enumerate(state.sequencers):
        fresh = put(state.sequencers, place, taken_over(rules, state))
        if fresh != state.sequencers:
            yield f"sequencer {place} takes over", state._replace(sequencers=fresh)
        if sequencer == ():
            continue
        yield from _work_steps(scope, rules, state, place)
        for flushed in flush(rules, state, place):
            yield f"sequencer {place} flushes", flushed
    for after, entries in state.extensions:
        log = _extended(rules, state, after, entries)
        if log != state.log:
            yield f"{entries} reach the log unheard", _grown(rules, state, log)


def taken_over(rules: Rules, state: State) -> Sequencer:
    """Returns what a sequencer knows after a take-over: the log's tail behind the flushed place."""
    positions = [-1] * len(state.positions)
    if not rules.positions_trusted_over_the_log:
        for stream, version in state.log[state.flushed :]:
            positions[stream] = version
    return Sequencer(len(state.log), tuple(positions))


def take(scope: Scope, rules: Rules, state: State, place: int, message: Message) -> State:
    """A sequencer takes a message: what is new goes to the log, with the gap before it."""
    stream, version, marked = message
    sequencer = state.sequencers[place]
    position = sequencer.positions[stream]
    if position < 0:
        unread = rules.first_version_not_looked_up and version == 1 and not marked
        position = 0 if unread else state.positions[stream]
    positions = put(sequencer.positions, stream, position)
    if version <= position:
        return state._replace(
            bus=state.bus - {message},
            sequencers=put(state.sequencers, place, sequencer._replace(positions=positions)),
        )
    entries = tuple((stream, number) for number in range(position + 1, version + 1))
    if rules.positions_before_the_log_write:
        positions = put(positions, stream, version)
    sequencer = sequencer._replace(positions=positions, taken=message, extension=entries)
    return state._replace(
        bus=state.bus - {message} if rules.offsets_before_the_log_write else state.bus,
        extensions=state.extensions | {(sequencer.end, entries)} if scope.late else frozenset(),
        sequencers=put(state.sequencers, place, sequencer),
    )


def extend(rules: Rules, state: State, place: int) -> State:
    """The log decides a sequencer's extension, and the sequencer hears of it."""
    sequencer = state.sequencers[place]
    entries = sequencer.extension
    log = _extended(rules, state, sequencer.end, entries)
    if log == state.log and not rules.log_extended_without_condition:
        return state._replace(sequencers=put(state.sequencers, place, taken_over(rules, state)))
    positions = sequencer.positions
    for stream, version in entries:
        positions = put(positions, stream, version)
    sequencer = sequencer._replace(
        end=sequencer.end + len(entries), positions=positions, extension=()
    )
    state = _grown(rules, state, log)
    return state._replace(sequencers=put(state.sequencers, place, sequencer))


def commit(state: State, place: int) -> State:
    """A sequencer commits the message whose entries are in the log."""
    sequencer = state.sequencers[place]
    return state._replace(
        bus=state.bus - {sequencer.taken},
        sequencers=put(state.sequencers, place, sequencer._replace(taken=())),
    )


def flush(rules: Rules, state: State, place: int) -> Iterator[State]:
    """A sequencer stores its positions, and as a second step the place up to which they are."""
    sequencer = state.sequencers[place]
    begins = sequencer.flushing < 0
    positions, flushed = state.positions, state.flushed
    if begins != rules.flushed_place_before_positions:
        positions = _positions(rules, state, sequencer)
    else:
        end = sequencer.end if begins else sequencer.flushing
        flushed = max(flushed, end)
    flushing = sequencer.end if begins else -1
    if (
        positions != state.positions
        or flushed != state.flushed
        or not begins
        or (sequencer.end > state.flushed)
    ):
        yield state._replace(
            positions=positions,
            flushed=flushed,
            sequencers=put(state.sequencers, place, sequencer._replace(flushing=flushing)),
        )


def _positions(rules: Rules, state: State, sequencer: Sequencer) -> tuple[int, ...]:
    """Returns the stored positions after a write of those in memory, stamped by sequence."""
    if rules.default_timestamps_of_positions:
        pairs = zip(sequencer.positions, state.positions, strict=True)
        return tuple(mine if mine > 0 else stored for mine, stored in pairs)
    return tuple(map(max, sequencer.positions, state.positions))


def _work_steps(scope: Scope, rules: Rules, state: State, place: int) -> Iterator[Step]:
    sequencer = state.sequencers[place]
    if sequencer.taken == ():
        for message in state.bus:
            yield f"sequencer {place} takes {message}", take(scope, rules, state, place, message)
    elif sequencer.extension:
        yield f"sequencer {place} extends the log", extend(rules, state, place)
    else:
        yield f"sequencer {place} commits {sequencer.taken}", commit(state, place)


def _extended(
    rules: Rules, state: State, after: int, entries: tuple[Entry, ...]
) -> tuple[Entry, ...]:
    if rules.log_extended_without_condition:
        return state.log[:after] + entries + state.log[after + len(entries) :]
    return state.log + entries if after == len(state.log) else state.log


def _grown(rules: Rules, state: State, log: tuple[Entry, ...]) -> State:
    """Puts the log in, and forgets extensions in flight that cannot be applied any more."""
    kept = state.extensions
    if not rules.log_extended_without_condition:
        kept = frozenset(sent for sent in kept if sent[0] >= len(log))
    return state._replace(log=log, extensions=kept)
