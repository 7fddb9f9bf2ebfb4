"""Step 2, decide: state and command in, events out; pure, and only declared events get through."""

from typing import Any

from google.protobuf.message import Message

from command_svc.command import Category, DecidedEvent, Expected
from eventspine.domain.errors import DomainDefectError, RefusalError
from eventspine.rpc.checks import check_size
from eventspine.rpc.limits import COMMAND_BYTES_MAX, EVENT_BYTES_MAX, EVENTS_MAX


def decide_command(category: Category, state: Any, content: Any) -> tuple[DecidedEvent, ...]:
    """Returns the events that follow from a command; empty when there is nothing to do.

    Args:
        category: What is declared for the stream.
        state: The state of the stream; not changed. None without an aggregate.
        content: The request message of a typed command, or events that are decided already.

    Raises:
        RefusalError: The domain refuses the command.
        LimitExceededError: The events are too many or too large.
        DomainDefectError: The decider failed, or returned what it must not.
    """
    if isinstance(content, tuple):
        return content
    events = tuple([_event(category, event) for event in _decided(category, state, content)])
    if len(events) != 1 or len(events[0].payload) > EVENT_BYTES_MAX:
        check_sizes(events)
    return events


def evolve_state(category: Category, state: Any, events: tuple[DecidedEvent, ...]) -> Any:
    """Returns the state after events that were decided on it. The state passed in is given away.

    Raises:
        DomainDefectError: An evolver failed. The state passed in must not be used any more.
    """
    aggregate = category.aggregate
    if aggregate is None:
        return None
    for event in events:
        try:
            state = aggregate.evolve(state, event.message)
        except Exception as error:
            name = event.type.name
            raise _defect(f"the evolver of {name} failed: {error!r}; mend it", name) from error
    if not isinstance(state, aggregate.state):
        name = events[-1].type.name
        raise _defect(f"the evolver of {name} returned {state!r}; return the state", name)
    return state


def met(expected: Expected | None, version: int) -> bool:
    """Returns whether a stream at `version` is as the caller expects."""
    if expected is None or expected.kind == "any":
        return True
    if expected.kind == "version":
        return version == expected.version
    return (version == 0) == (expected.kind == "no_stream")


def check_sizes(events: tuple[DecidedEvent, ...]) -> None:
    """Checks the published limits of the events of one command.

    Raises:
        LimitExceededError: They are too many or too large. Nothing was stored.
    """
    # Nearly all commands decide one small event, so limits are compared before anything is called.
    if len(events) > EVENTS_MAX:
        check_size("events", len(events), EVENTS_MAX, limit="events", unit="events")
    total = 0
    for index, event in enumerate(events):
        size = len(event.payload)
        total += size
        if size > EVENT_BYTES_MAX:
            check_size(f"events[{index}].payload", size, EVENT_BYTES_MAX, limit="event_bytes")
    if total > COMMAND_BYTES_MAX:
        check_size("events", total, COMMAND_BYTES_MAX, limit="command_bytes")


def _decided(category: Category, state: Any, command: Message) -> tuple[Message, ...]:
    aggregate = category.aggregate
    if aggregate is None:
        raise _defect(f"category {category.name} has no aggregate", command.DESCRIPTOR.full_name)
    try:
        return tuple(aggregate.decide(state, command))
    except RefusalError as refusal:
        enum = refusal.value.type
        if aggregate.refusals is None or enum.full_name == aggregate.refusals.full_name:
            raise
        name = command.DESCRIPTOR.full_name
        text = f"the decider of {name} refused by {enum.full_name}, which is not its domain's enum"
        raise _defect(text, name) from refusal
    except Exception as error:
        name = command.DESCRIPTOR.full_name
        raise _defect(f"the decider of {name} failed: {error!r}; mend it", name) from error


def _event(category: Category, event: Message) -> DecidedEvent:
    kind = category.by_class.get(type(event))
    if kind is None:
        name = event.DESCRIPTOR.full_name if isinstance(event, Message) else type(event).__name__
        raise _defect(
            f"a decider of category {category.name} returned {name}, which is not declared as an"
            f" event of that category; set the `event` option",
            name,
        )
    return DecidedEvent(kind, event, event.SerializeToString())


def _defect(text: str, name: str) -> DomainDefectError:
    return DomainDefectError(text, type=name)
