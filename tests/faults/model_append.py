"""Steps 3 and 4 in the model: decide, append conditionally, answer, publish; and repair.

A writer never has two appends in flight on its own. What it sends may be applied at once, late,
twice, or never; a second application of the same batch finds its own command row.
"""

from collections.abc import Iterator
from functools import cache

from tests.faults.model import (
    FAILED,
    LOST,
    NEW,
    WORKING,
    Batch,
    Row,
    Rules,
    Scope,
    State,
    Step,
    Stored,
    Writer,
    put,
)


def heads(state: State) -> tuple[int, ...]:
    """Returns the last version of each stream."""
    return _heads(state.stored)


@cache
def _heads(stored: Stored) -> tuple[int, ...]:
    return tuple(max((row[0] for rows in stream for row in rows), default=0) for stream in stored)


def writer_steps(scope: Scope, rules: Rules, state: State) -> Iterator[Step]:
    """Yields what clients and writers can do next, and what can befall them."""
    yield from _request_steps(scope, rules, state)
    for place, writer in enumerate(state.writers):
        if writer:
            yield from _answer_steps(scope, rules, state, place)
        if state.unpublished[place]:
            yield f"writer {place} publishes", publish(state, place)
            if scope.lossy:
                yield f"the bus loses what {place} publishes", publish(state, place, lost=True)
        if state.crashes and (writer or state.unpublished[place]):
            yield f"writer {place} dies", _die(scope, state, place)
    for batch in state.sent:
        stored, _ = _applied(scope, rules, state, batch)
        if stored is not state.stored:
            yield f"{batch} is applied unheard", _pruned(scope, rules, state, stored)


def decide(scope: Scope, rules: Rules, state: State, request: int) -> State:
    """A writer loads the stream and sends its append; or finds the command stored already."""
    _, place, stream = scope.requests[request]
    expected, bucket, known = _load(scope, rules, state, request)
    if known:
        return _answer(state, place, request, known)
    answer = expected + 1 if rules.acknowledged_before_stored else WORKING
    sent, hints = state.sent, state.hints
    if scope.late:
        sent |= {(stream, bucket, expected, request)}
    if scope.repairs:
        hints = put(hints, place, hints[place] | {stream})
    return state._replace(
        answers=put(state.answers, request, answer),
        writers=put(state.writers, place, Writer(request, expected, bucket, unknown=False)),
        sent=sent,
        hints=hints,
    )


def hear(scope: Scope, rules: Rules, state: State, place: int) -> Iterator[State]:
    """The store decides a writer's append, and the writer hears of it."""
    writer = state.writers[place]
    stream = scope.requests[writer.request][2]
    batch = (stream, writer.bucket, writer.expected, writer.request)
    stored, row = _applied(scope, rules, state, batch)
    if stored is not state.stored:
        state, row = _pruned(scope, rules, state, stored), (writer.expected + 1, writer.request)
    elif writer.unknown and rules.retry_on_another_host_is_a_conflict:
        row = None
    if row is not None:
        yield _stored(scope, state, place, row)
        return
    idle = _answer(state, place, writer.request, FAILED)
    yield idle
    yield decide(scope, rules, idle, writer.request)


def publish(state: State, place: int, *, lost: bool = False) -> State:
    """A writer hands the oldest of what waits to the bus, and closes its window after the last."""
    first, *rest = state.unpublished[place]
    state = state._replace(
        unpublished=put(state.unpublished, place, tuple(rest)),
        bus=state.bus if lost else state.bus | {first},
    )
    return state if rest or state.writers[place] else _closed(state, place)


def repair_steps(rules: Rules, state: State) -> Iterator[Step]:
    """Another writer looks at a dead one's window; it closes it once no late write can come."""
    ends = heads(state)
    for stream in state.orphans:
        bus = state.bus | republished(state, stream, ends[stream])
        after = state._replace(bus=bus)
        if bus != state.bus:
            yield f"repair publishes stream {stream}", after
        if rules.repair_looks_once or not any(batch[0] == stream for batch in state.sent):
            yield (
                f"repair closes the window of stream {stream}",
                after._replace(orphans=state.orphans - {stream}),
            )


def republished(state: State, stream: int, end: int) -> set[tuple[int, int, bool]]:
    """Returns the messages for what a stream has above its stored position."""
    return {(stream, version, True) for version in range(state.positions[stream] + 1, end + 1)}


def _request_steps(scope: Scope, rules: Rules, state: State) -> Iterator[Step]:
    """Yields what new requests lead to."""
    for request, (_, writer, _) in enumerate(scope.requests):
        if state.answers[request] == NEW and not state.writers[writer]:
            decided = decide(scope, rules, state, request)
            if scope.late or not decided.writers[writer]:
                yield f"writer {writer} decides request {request}", decided
            else:
                # A crash between the two is no different from one before them.
                after = next(hear(scope, rules, decided, writer))
                yield f"writer {writer} stores request {request}", after


def _answer_steps(scope: Scope, rules: Rules, state: State, place: int) -> Iterator[Step]:
    writer = state.writers[place]
    for after in hear(scope, rules, state, place):
        yield f"writer {place} hears of request {writer.request}", after
    if scope.late and not writer.unknown:
        yield f"writer {place} hears nothing in time", _time_out(scope, rules, state, place)


def _time_out(scope: Scope, rules: Rules, state: State, place: int) -> State:
    writer = state.writers[place]
    if rules.unknown_is_a_failure:
        return _answer(state, place, writer.request, FAILED)
    if rules.a_read_settles_an_unknown:
        stream = scope.requests[writer.request][2]
        for row in (row for rows in state.stored[stream] for row in rows):
            if row[1] == writer.request:
                return _stored(scope, state, place, row)
        return _answer(state, place, writer.request, FAILED)
    return state._replace(writers=put(state.writers, place, writer._replace(unknown=True)))


def _stored(scope: Scope, state: State, place: int, row: Row) -> State:
    """A writer learns where its command is; what is its own it publishes."""
    writer = state.writers[place]
    version, request = row
    if request == writer.request:
        message = (scope.requests[request][2], version, False)
        unpublished = put(state.unpublished, place, (*state.unpublished[place], message))
        state = state._replace(unpublished=unpublished)
    return _answer(state, place, writer.request, version)


def _answer(state: State, place: int, request: int, answer: int) -> State:
    state = state._replace(
        writers=put(state.writers, place, ()), answers=put(state.answers, request, answer)
    )
    return state if state.unpublished[place] else _closed(state, place)


def _closed(state: State, place: int) -> State:
    return state._replace(hints=put(state.hints, place, frozenset()))


def _die(scope: Scope, state: State, place: int) -> State:
    writer = state.writers[place]
    answers = state.answers
    if writer and answers[writer.request] == WORKING:
        answers = put(answers, writer.request, LOST)
    return state._replace(
        writers=put(state.writers, place, ()),
        unpublished=put(state.unpublished, place, ()),
        answers=answers,
        crashes=state.crashes - 1,
        orphans=state.orphans | state.hints[place],
        hints=put(state.hints, place, frozenset()),
    )


def _load(scope: Scope, rules: Rules, state: State, request: int) -> tuple[int, int, int]:
    """Returns head, bucket, and the version of the command where a full bucket has it."""
    command, place, stream = scope.requests[request]
    size = 1 if rules.two_tails and place else scope.bucket_size
    head = bucket = 0
    for rows in state.stored[stream]:
        head = rows[-1][0] if rows else head
        if head < (bucket + 1) * size:
            break
        bucket += 1
        row = None if _newest_only(rules) else _row(scope, rows, command)
        if row is not None:
            return head, bucket, row[0]
    return head, bucket, 0


def _newest_only(rules: Rules) -> bool:
    return rules.command_looked_up_in_the_newest_bucket_only or rules.no_command_row


def _row(scope: Scope, rows: tuple[Row, ...], command: int) -> Row | None:
    return next((row for row in rows if scope.requests[row[1]][0] == command), None)


def _applied(scope: Scope, rules: Rules, state: State, batch: Batch) -> tuple[Stored, Row | None]:
    """Returns what is stored after a conditional batch, and the command's row that refuses it."""
    stream, bucket, expected, request = batch
    buckets = state.stored[stream]
    rows = buckets[bucket] if bucket < len(buckets) else ()
    if not rules.no_command_row:
        row = _row(scope, rows, scope.requests[request][0])
        if row is not None:
            return state.stored, row
    head = rows[-1][0] if rows else None
    if rules.appended_without_condition:
        rows = tuple(row for row in rows if row[0] != expected + 1)
    elif head != expected and not (head is None and (expected == 0 or bucket)):
        return state.stored, None
    buckets += ((),) * (bucket + 1 - len(buckets))
    rows = (*rows, (expected + 1, request))
    return put(state.stored, stream, put(buckets, bucket, rows)), None


def _pruned(scope: Scope, rules: Rules, state: State, stored: Stored) -> State:
    """Forgets appends in flight that cannot be applied any more, whatever happens."""
    state = state._replace(stored=stored)
    if rules.appended_without_condition:
        return state
    live = {b for b in state.sent if _applied(scope, rules, state, b)[0] is not state.stored}
    return state._replace(sent=frozenset(live))
