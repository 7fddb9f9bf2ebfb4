"""What holds in every state of the model, and once faults stop and everybody is done."""

from collections import Counter
from collections.abc import Callable

from tests.faults.model import FAILED, Rules, Scope, State, Step
from tests.faults.model_append import hear, publish, repair_steps, writer_steps
from tests.faults.model_follow import deliverable, fold, follower_steps, growth_steps, loaded, save
from tests.faults.model_sequence import (
    audit_steps,
    bus_steps,
    commit,
    extend,
    flush,
    sequencer_steps,
    take,
    taken_over,
)

ROUNDS_MAX = 20
"""How often everybody may go round before the world has to be at rest."""

Judge = Callable[[Scope, Rules, State], str]
Key = tuple[Judge, tuple[object, ...]]


def steps(scope: Scope, rules: Rules, state: State) -> list[Step]:
    """Returns all that can happen next in a state."""
    found = [*writer_steps(scope, rules, state)]
    if scope.lossy:
        found += bus_steps(state)
    if scope.repairs:
        found += repair_steps(rules, state)
    if scope.audits:
        found += audit_steps(rules, state)
    if scope.sequencers:
        found += sequencer_steps(scope, rules, state)
    if scope.grown:
        found += growth_steps(state)
    if scope.projectors:
        found += follower_steps(scope, rules, state)
    return found


class Promises:
    """Judges states; remembers what it has judged, since most states share most of their parts."""

    def __init__(self) -> None:
        self._judged: dict[Key, str] = {}

    def broken(self, scope: Scope, rules: Rules, state: State) -> str:
        """Names the promise that a state breaks; empty when it breaks none."""
        stored, log = state.stored, state.log
        judged = (
            (_broken_commands, (stored, state.answers)),
            (_broken_log, (stored, log, state.verified)),
            (_broken_followers, (log, state.row, state.received)),
        )
        for judge, parts in judged:
            violation = self._once((judge, parts), scope, rules, state)
            if violation:
                return violation
        return self._log_at_rest(scope, rules, state) or self._followers_at_rest(
            scope, rules, state
        )

    def _once(self, key: Key, scope: Scope, rules: Rules, state: State) -> str:
        """Asks a judge, who looks at no other parts of the state than those in the key."""
        if key not in self._judged:
            self._judged[key] = key[0](scope, rules, state)
        return self._judged[key]

    def _log_at_rest(self, scope: Scope, rules: Rules, state: State) -> str:
        """Tries each sequencer as the one that goes on, and one that takes over.

        What is in flight may never arrive; what clients were told does not change what is to come.
        """
        if not scope.sequencers:
            return ""
        same = (state.stored, state.log, state.writers, state.unpublished, state.hints)
        same += (state.orphans, state.bus, state.positions, state.flushed)
        for sequencer in {*state.sequencers, taken_over(rules, state)} - {()}:
            key = (_log_at_rest, (*same, sequencer))
            if key not in self._judged or self._judged[key]:
                alone = state._replace(sequencers=(sequencer,), sent=frozenset())
                violation = self._once(key, scope, rules, alone)
                if violation:
                    return violation
        return ""

    def _followers_at_rest(self, scope: Scope, rules: Rules, state: State) -> str:
        """Tries each projector as the one that goes on, and one that takes over."""
        if not scope.projectors:
            return ""
        same = (state.stored, state.log, state.row, state.progress, state.received)
        for projector in {*state.projectors, loaded(state)} - {()}:
            key = (_followers_at_rest, (*same, projector))
            if key not in self._judged or self._judged[key]:
                alone = state._replace(projectors=(projector,))
                violation = self._once(key, scope, rules, alone)
                if violation:
                    return violation
        return ""


def _log_at_rest(scope: Scope, rules: Rules, state: State) -> str:
    """Lets everybody finish, without another fault, and compares log and store."""
    after = _finished(scope, rules, state)
    if Counter(after.log) != _all_entries(after):
        return f"at rest the log has {after.log} of {after.stored}"
    return ""


def _finished(scope: Scope, rules: Rules, state: State) -> State:
    for _ in range(ROUNDS_MAX):
        before = state
        state = _writers_finished(scope, rules, state)
        for kind in (repair_steps, audit_steps) if scope.audits else (repair_steps,):
            while (after := next((after for _, after in kind(rules, state)), state)) != state:
                state = after
        state = _sequenced(scope, rules, state)
        if state == before:
            return state
    raise AssertionError(f"the world comes to no rest: {state}")


def _writers_finished(scope: Scope, rules: Rules, state: State) -> State:
    for place in range(len(state.writers)):
        if state.writers[place]:
            state = next(hear(scope, rules, state, place))
        while state.unpublished[place]:
            state = publish(state, place)
    return state


def _sequenced(scope: Scope, rules: Rules, state: State) -> State:
    """The one sequencer works off the bus and stores its positions."""
    while state.bus or state.sequencers[0].taken:
        if state.sequencers[0].taken == ():
            state = take(scope, rules, state, 0, min(state.bus))
        elif state.sequencers[0].extension:
            state = extend(rules, state, 0)
        else:
            state = commit(state, 0)
    while (after := next(flush(rules, state, 0), state)) != state:
        state = after
    return state


def _followers_at_rest(scope: Scope, rules: Rules, state: State) -> str:
    """Lets the log grow, and everybody follow it, and compares with the log."""
    while (after := next((after for _, after in growth_steps(state)), state)) != state:
        state = after
    while wanted := deliverable(scope, rules, state):
        state = state._replace(received=(*state.received, wanted[0]))
    if state.received != tuple(range(1, len(state.log) + 1)):
        return f"at rest the subscriber got {state.received} of {len(state.log)} entries"
    while state.projectors[0].through or state.projectors[0].progress < len(state.log):
        if state.projectors[0].through:
            state = save(rules, state, 0)
        else:
            state = fold(rules, state, 0, len(state.log))
    if state.row[1] != state.log:
        return f"at rest the row is {state.row[1]} and the fold {state.log}"
    return ""


def _all_entries(state: State) -> Counter[tuple[int, int]]:
    """Returns each stored version of each stream."""
    return Counter(
        (stream, row[0])
        for stream, buckets in enumerate(state.stored)
        for rows in buckets
        for row in rows
    )


def _broken_commands(scope: Scope, _: Rules, state: State) -> str:
    """Judges what is stored, and what clients were told."""
    stored: dict[int, tuple[int, int]] = {}
    for stream, buckets in enumerate(state.stored):
        rows = sorted(row for bucket in buckets for row in bucket)
        if [version for version, _ in rows] != list(range(1, len(rows) + 1)):
            return f"stream {stream} has the versions {rows}"
        for version, request in rows:
            command = scope.requests[request][0]
            if command in stored:
                return f"command {command} took effect twice: {rows}"
            stored[command] = (version, request)
    for request, answer in enumerate(state.answers):
        found = stored.get(scope.requests[request][0])
        if answer > 0 and (found is None or found[0] != answer):
            return f"request {request} was acknowledged at {answer} and is at {found}"
        if answer == FAILED and found is not None and found[1] == request:
            return f"request {request} was told that it failed and is stored at {found}"
    return ""


def _broken_log(_scope: Scope, _rules: Rules, state: State) -> str:
    """Judges the log, and what the auditor says of it."""
    entries = _all_entries(state)
    for stream, verified in enumerate(state.verified):
        versions = [version for where, version in state.log if where == stream]
        if versions != list(range(1, len(versions) + 1)):
            return f"the log has the versions {versions} of stream {stream}"
        if verified > len(versions):
            return f"stream {stream} was said to be verified up to {verified}, not {versions}"
    return "" if set(state.log) <= set(entries) else "the log has what is not stored"


def _broken_followers(_scope: Scope, _rules: Rules, state: State) -> str:
    """Judges the row, and what the subscriber got."""
    sequence, value = state.row
    if value != state.log[:sequence]:
        return f"the row of sequence {sequence} is {value}"
    if state.received != tuple(range(1, len(state.received) + 1)):
        return f"the subscriber got {state.received}"
    return ""
