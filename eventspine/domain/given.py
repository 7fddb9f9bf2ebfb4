"""Tests a domain in sentences: given events, when a command, then events, a refusal or rows.

Everything here raises AssertionError with what was expected and what came, as text.
"""

from collections.abc import Sequence
from typing import Any, overload

from google.protobuf.message import Message

from eventspine.domain.aggregate import Aggregate
from eventspine.domain.aggregate_laws import check_aggregate
from eventspine.domain.errors import RefusalError
from eventspine.domain.view import View, ViewEvent
from eventspine.domain.view_laws import check_view, rows_of
from eventspine.domain.wording import encoding, listing, same, sections
from eventspine.v1.record_pb2 import EventRecord

__all__ = ["GivenEvents", "GivenView", "check_aggregate", "check_view", "given", "happened"]

_SECOND_US = 1_000_000


def happened(
    stream: str, *events: Message, first_version: int = 1, append_time_us: int = 0
) -> list[ViewEvent]:
    """Returns events of one stream as a view sees them.

    Args:
        stream: The stream, `category/id`.
        events: The events, in order.
        first_version: The stream version of the first one.
        append_time_us: When the first was stored, in microseconds since 1970 UTC; each next one a
            second later.
    """
    happening = []
    for index, event in enumerate(events):
        record = EventRecord(stream=stream, stream_version=first_version + index)
        record.append_time.FromMicroseconds(append_time_us + index * _SECOND_US)
        happening.append(ViewEvent(event, record))
    return happening


@overload
def given(subject: Aggregate[Any], /, *events: Message) -> "GivenEvents": ...


@overload
def given(subject: View[Any], /, *events: ViewEvent) -> "GivenView": ...


def given(subject: Aggregate[Any] | View[Any], /, *events: Any) -> "GivenEvents | GivenView":
    """Starts a sentence with what has happened.

    Args:
        subject: The aggregate that decides next, or the view that shows the events.
        events: What has happened, in order: messages for an aggregate, the results of `happened`
            for a view.
    """
    if isinstance(subject, View):
        return GivenView(subject, events)
    return GivenEvents(subject, events)


class GivenEvents:
    """The history of one aggregate."""

    def __init__(self, aggregate: Aggregate[Any], history: Sequence[Message]) -> None:
        """Takes the history as it is."""
        self._aggregate = aggregate
        self._history = history

    def when(self, command: Message) -> "Decided":
        """Decides a command on the state after the history.

        Raises:
            AssertionError: The decider changed the state, or raised something else than a refusal.
        """
        __tracebackhide__ = True
        return Decided(self._aggregate, self._history, command)

    def state(self, expected: Message) -> None:
        """Checks the state after the history.

        Raises:
            AssertionError: It is another one.
        """
        __tracebackhide__ = True
        actual = self._aggregate.fold(self._history)
        if not same(actual, expected):
            raise AssertionError(
                sections(
                    given=listing(self._history),
                    expected_state=listing([expected]),
                    actual_state=listing([actual]),
                )
            )


class Decided:
    """What came of a command."""

    def __init__(
        self, aggregate: Aggregate[Any], history: Sequence[Message], command: Message
    ) -> None:
        """Decides the command."""
        __tracebackhide__ = True
        self._aggregate = aggregate
        self._history = history
        self._command = command
        self._events: Sequence[Message] = ()
        self._refusal: RefusalError | None = None
        state = aggregate.fold(history)
        before = encoding(state)
        try:
            self._events = tuple(aggregate.decide(state, command))
        except RefusalError as refusal:
            self._refusal = refusal
        except Exception as error:
            raise self._failure("  events or a refusal", f"  {error!r}") from error
        if encoding(state) != before:
            raise self._failure("  an unchanged state", listing([state]))

    def then(self, *events: Message) -> None:
        """Checks that the command leads to exactly these events; to none, without any.

        Raises:
            AssertionError: It leads to others, or is refused.
        """
        __tracebackhide__ = True
        if self._refusal is not None:
            raise self._failure(listing(events), self._outcome())
        pairs = zip(events, self._events, strict=False)
        if len(events) != len(self._events) or not all(same(*pair) for pair in pairs):
            raise self._failure(listing(events), self._outcome())

    def refused(self, value: int, text: str = "") -> None:
        """Checks that the command is refused.

        Args:
            value: The generated constant of the refusal in the aggregate's enum.
            text: What the refusal's text must contain.

        Raises:
            AssertionError: It is not refused, or with another value or text.
        """
        __tracebackhide__ = True
        enum = self._aggregate.refusals
        if enum is None:
            raise self._failure("  a refusal", "  an aggregate that names no enum of refusals")
        name = enum.values_by_number[value].name
        refusal = self._refusal
        if refusal is None or refusal.value.type != enum or refusal.value.number != value:
            raise self._failure(f"  refused with {name}", self._outcome())
        if text not in str(refusal):
            raise self._failure(f"  refused with {name}: ...{text}...", self._outcome())

    def _outcome(self) -> str:
        if self._refusal is None:
            return listing(self._events)
        return f"  refused with {self._refusal.value.name}: {self._refusal}"

    def _failure(self, expected: str, actual: str) -> AssertionError:
        return AssertionError(
            sections(
                given=listing(self._history),
                when=listing([self._command]),
                expected=expected,
                actual=actual,
            )
        )


class GivenView:
    """What has happened, for a view."""

    def __init__(self, view: View[Any], events: Sequence[ViewEvent]) -> None:
        """Takes the events in the order of the log."""
        self._view = view
        self._events = events

    def shows(self, *rows: Message) -> None:
        """Checks that the view has exactly these rows, in any order.

        Raises:
            AssertionError: It has others, or an event cannot be applied.
        """
        __tracebackhide__ = True
        actual = rows_of(self._view, self._events)
        if sorted(map(encoding, actual.values())) != sorted(map(encoding, rows)):
            raise AssertionError(
                sections(
                    given=listing(event.data for event in self._events),
                    expected_rows=listing(rows),
                    actual_rows=listing(actual.values()),
                )
            )
