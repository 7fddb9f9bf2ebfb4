"""Checks what must hold for every aggregate, whatever its domain means.

The laws: a command decided twice does nothing the second time; a decider raises only its own
refusals and leaves the state as it is; a history folds to the same state when it was stored and
read back, whole or from a snapshot at any place.
"""

from collections.abc import Collection, Sequence
from typing import Any

from google.protobuf.message import Message

from eventspine.domain.aggregate import Aggregate
from eventspine.domain.errors import RefusalError
from eventspine.domain.wording import encoding, listing, same, sections, words


def check_aggregate(
    aggregate: Aggregate[Any],
    history: Sequence[Message],
    commands: Sequence[Message],
    *,
    repeatable: Collection[type[Message]] = (),
) -> None:
    """Checks the laws with every command after every beginning of a history.

    Beside the commands given, an empty request of each kind is decided too.

    Args:
        aggregate: The aggregate.
        history: Events of one stream, in order.
        commands: Commands to decide.
        repeatable: The requests that mean something new each time they are decided, such as a
            deposit: their command id alone makes them take effect once. All others have to find
            in the state that they are done: no event, or a refusal.

    Raises:
        AssertionError: A law does not hold; the text shows where.
    """
    __tracebackhide__ = True
    _check_read_back(aggregate, history)
    empty = [request() for request in aggregate.deciders]
    for count in range(len(history) + 1):
        for command in [*commands, *empty]:
            _check_command(aggregate, history[:count], command, type(command) in repeatable)


def _check_read_back(aggregate: Aggregate[Any], history: Sequence[Message]) -> None:
    __tracebackhide__ = True
    before = [encoding(event) for event in history]
    state = aggregate.fold(history)
    if [encoding(event) for event in history] != before:
        raise AssertionError(f"an evolver changed its event in\n{listing(history)}")
    stored = [type(event).FromString(event.SerializeToString()) for event in history]
    for count in range(len(stored) + 1):
        snapshot = encoding(aggregate.fold(stored[:count]))
        read_back = aggregate.fold(stored[count:], aggregate.state.FromString(snapshot))
        if not same(state, read_back):
            raise AssertionError(
                sections(
                    history=listing(history),
                    state=listing([state]),
                    **{f"state from a snapshot after event {count}": listing([read_back])},
                )
            )


def _check_command(
    aggregate: Aggregate[Any], history: Sequence[Message], command: Message, repeatable: bool
) -> None:
    __tracebackhide__ = True
    events = _decided(aggregate, history, command)
    for event in events:
        if type(event) not in aggregate.evolvers:
            raise _failure(history, command, f"events of the aggregate, not {words(event)}")
    if events and not repeatable:
        again = _decided(aggregate, [*history, *events], command)
        if again:
            expected = (
                "nothing to do the second time (or name the request in `repeatable`); got\n"
                f"{listing(again)}"
            )
            raise _failure([*history, *events], command, expected)


def _decided(
    aggregate: Aggregate[Any], history: Sequence[Message], command: Message
) -> Sequence[Message]:
    __tracebackhide__ = True
    state = aggregate.fold(history)
    before = encoding(state)
    given = encoding(command)
    events: Sequence[Message] = ()
    try:
        events = tuple(aggregate.decide(state, command))
    except RefusalError as refusal:
        if refusal.value.type != aggregate.refusals or refusal.value.number == 0:
            name = f"{refusal.value.type.full_name}.{refusal.value.name}"
            expected = f"only refusals of the aggregate's own enum, not {name}"
            raise _failure(history, command, expected) from refusal
    except Exception as error:
        raise _failure(history, command, f"only refusals, not {error!r}") from error
    if encoding(state) != before:
        raise _failure(history, command, "a decider that leaves the state as it is")
    if encoding(command) != given:
        raise _failure(history, command, "a decider that leaves the command as it is")
    return events


def _failure(history: Sequence[Message], command: Message, expected: str) -> AssertionError:
    return AssertionError(
        sections(given=listing(history), when=listing([command]), expected=f"  {expected}")
    )
