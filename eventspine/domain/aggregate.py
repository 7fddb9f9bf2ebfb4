"""What decides: the pure functions of one category of streams."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

State = TypeVar("State", bound=Message)

Decider = Callable[[Any, Any], Sequence[Message]]
Evolver = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate(Generic[State]):
    """The deciders and evolvers of one category.

    Attributes:
        category: The category of the streams, as in the `commands` option of its service.
        state: The message class of the state. A new, empty one is the state before any event.
        deciders: By class of command request: `decide(state, command) -> events`. A decider reads
            the state and changes nothing; it returns no event when there is nothing to do, and
            raises `RefusalError` (by `refuse`) to refuse.
        evolvers: By class of event: `evolve(state, event) -> state`. An evolver owns the state that
            it is given: it may change it and return it. It never refuses.
        refusals: The enum of the domain's proto whose values its deciders refuse with.
        version: The version of the evolvers, from 1. Raise it when they fold differently:
            snapshots of another version are ignored.
    """

    category: str
    state: type[State]
    deciders: Mapping[type[Message], Decider]
    evolvers: Mapping[type[Message], Evolver]
    refusals: EnumDescriptor | None = None
    version: int = 1

    def initial(self) -> State:
        """Returns the state before any event."""
        return self.state()

    def decide(self, state: State, command: Message) -> Sequence[Message]:
        """Returns the events that follow from the command, in order; empty for nothing to do.

        Raises:
            RefusalError: The command is refused.
            KeyError: No decider is declared for the command's class.
        """
        return self.deciders[type(command)](state, command)

    def evolve(self, state: State, event: Message) -> State:
        """Returns the state after one event. The state passed in must not be used again.

        Raises:
            KeyError: No evolver is declared for the event's class.
        """
        evolved: State = self.evolvers[type(event)](state, event)
        return evolved

    def fold(self, events: Iterable[Message], state: State | None = None) -> State:
        """Returns the state after several events, from `state` (given away) or from the initial."""
        folded = self.initial() if state is None else state
        for event in events:
            folded = self.evolvers[type(event)](folded, event)
        return folded
