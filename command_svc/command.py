"""The nouns of the command service: a command on its way, its category, and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from google.protobuf.message import Message

from eventspine.domain.aggregate import Aggregate
from eventspine.domain.declared import Declarations


class EventType(NamedTuple):
    """A declared type of event: full name, class, and fingerprint of its shape (8 bytes)."""

    name: str
    message: type[Message]
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Category:
    """What is declared for the streams of one category.

    Attributes:
        aggregate: What decides and folds; None where only `Append` writes.
        by_class: The declared events, by class.
        by_name: The same, by full name.
    """

    name: str
    aggregate: Aggregate[Any] | None
    by_class: Mapping[type[Message], EventType]
    by_name: Mapping[str, EventType]


class DecidedEvent(NamedTuple):
    """An event that is decided and not yet stored.

    Attributes:
        message: The event; must not be changed.
        payload: Its encoding.
        event_id: The id that the client chose; empty means `<command_id>.<index>`.
    """

    type: EventType
    message: Message
    payload: bytes
    event_id: str = ""


class Expected(NamedTuple):
    """What the caller believes: `kind` is the name in the oneof; `version` counts for `version`."""

    kind: str
    version: int


class WaitFor(NamedTuple):
    """The views to wait for (none: all of them) and for how many seconds at most."""

    views: tuple[str, ...]
    seconds: float


class Header(NamedTuple):
    """The checked header of a command.

    Attributes:
        correlation_id: Never empty: the command's own, else its command id.
        causation_id: Empty where the client named none.
        metadata: None where there is none.
    """

    command_id: str
    correlation_id: str
    causation_id: str
    metadata: Mapping[str, str] | None
    expected: Expected | None
    dry_run: bool
    wait_for: WaitFor | None


class Answer(NamedTuple):
    """What became of a command that was not refused.

    Attributes:
        last_version: The version of the stream just after the command.
        event_count: How many events it stored.
        replayed: Whether an earlier call stored it.
        sequence: The place of its last event in log partition 0; None where that is not known.
        would_append: On a dry run, what would be stored; None otherwise.
        projected: Whether the awaited views have passed the events.
    """

    last_version: int
    event_count: int
    replayed: bool = False
    sequence: int | None = None
    would_append: tuple[DecidedEvent, ...] | None = None
    projected: bool = False


Outcome = Answer | Exception
"""What a caller gets: an answer, or the error that says what has and has not happened."""


class Caller(Protocol):
    """Who waits for the outcome of a command."""

    @property
    def gone(self) -> bool:
        """Whether nobody waits any more."""
        ...

    def settle(self, command: "Command", outcome: Outcome) -> None:
        """Takes the outcome. Called once, and never waits."""
        ...


@dataclass(slots=True, eq=False)
class Command:
    """A checked command on its way.

    Attributes:
        content: The request message of a typed command, or the events of `Append`.
        digest: SHA-256 over all that makes it this command and no other.
        size: How many bytes its content has, encoded.
        deadline: When the caller stops waiting, by the event loop's time; infinity for never.
        place: Which of its caller's commands it is, from 0.
        attempts: How often another process has won the stream against it.
        settled: Whether its caller has the outcome.
    """

    stream: str
    category: Category
    header: Header
    content: Any
    digest: bytes
    size: int
    deadline: float
    caller: Caller
    place: int = 0
    attempts: int = 0
    settled: bool = False


def categories(declarations: Declarations) -> dict[str, Category]:
    """Returns every category that has an aggregate or an event, by name."""
    events: dict[str, list[EventType]] = {name: [] for name in declarations.aggregates}
    for name, event in declarations.events.items():
        kind = EventType(name, event.message, event.fingerprint)
        events.setdefault(event.category, []).append(kind)
    return {
        name: Category(
            name,
            declarations.aggregates.get(name),
            {kind.message: kind for kind in kinds},
            {kind.name: kind for kind in kinds},
        )
        for name, kinds in events.items()
    }
