"""Between serve and decide: a request becomes a checked command; promise: what passes is storable.

Everything that can be told from the request alone is refused here, before a stream is touched.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError

from command_svc.command import (
    Caller,
    Category,
    Command,
    DecidedEvent,
    EventType,
    Expected,
    Header,
    WaitFor,
)
from command_svc.decide import check_sizes
from command_svc.encode import digest_request
from eventspine.domain.declared import CommandDeclaration, Declarations
from eventspine.rpc.checks import (
    check_duration,
    check_id,
    check_metadata,
    check_optional_id,
    check_size,
    check_stream,
    refuse,
)
from eventspine.rpc.errors import TypeUnknownError
from eventspine.rpc.limits import (
    COMMAND_BYTES_MAX,
    EVENTS_MAX,
    WAIT_SECONDS_MAX,
    WAIT_SECONDS_MIN,
)
from eventspine.v1.command_pb2 import AppendRequest, CommandHeader, NewEvent
from eventspine.v1.command_pb2 import WaitFor as WaitForMessage


class Intake:
    """Makes commands of requests."""

    def __init__(self, declarations: Declarations, categories: Mapping[str, Category]) -> None:
        """Knows what is declared."""
        self._declarations = declarations
        self._categories = categories

    def typed(
        self, declaration: CommandDeclaration, request: Any, caller: Caller, deadline: float
    ) -> Command:
        """Makes a command of the request of a typed method.

        Raises:
            InvalidRequestError: A field is missing or malformed. Nothing was stored.
            LimitExceededError: The request is too large. Nothing was stored.
        """
        header = self._header(request.header)
        field = declaration.stream_id_field
        stream_id = check_id(field, getattr(request, field))
        digest, size = digest_request(request)
        check_size("command", size, COMMAND_BYTES_MAX, limit="command_bytes")
        category = self._categories[declaration.aggregate.category]
        stream = f"{category.name}/{stream_id}"
        return Command(stream, category, header, request, digest, size, deadline, caller)

    def append(self, request: AppendRequest, caller: Caller, deadline: float) -> Command:
        """Makes a command of an `Append`.

        Raises:
            InvalidRequestError: A field is missing or malformed. Nothing was stored.
            TypeUnknownError: No domain declares the type of an event. Nothing was stored.
            LimitExceededError: The events are too many or too large. Nothing was stored.
        """
        header = self._header(request.header)
        if header.expected is None:
            refuse("header.expected", "is missing; say `any` if any version will do")
        name = check_stream("stream", request.stream)
        category = self._categories.get(name.category)
        if category is None:
            refuse("stream", f"no domain has category `{name.category}`; host one that has")
        if not request.events:
            refuse("events", f"is empty; send 1 to {EVENTS_MAX}")
        check_size("events", len(request.events), EVENTS_MAX, limit="events", unit="events")
        events = tuple(
            self._event(f"events[{index}]", event, category)
            for index, event in enumerate(request.events)
        )
        check_sizes(events)
        _check_event_ids(header.command_id, events)
        digest, size = digest_request(request)
        return Command(request.stream, category, header, events, digest, size, deadline, caller)

    def _event(self, field: str, event: NewEvent, category: Category) -> DecidedEvent:
        event_id = check_optional_id(f"{field}.event_id", event.event_id)
        kind = self._kind(field, event.type, category)
        try:
            message = kind.message.FromString(event.payload)
        except DecodeError as error:
            refuse(f"{field}.payload", f"does not parse as {kind.name}: {error}")
        return DecidedEvent(kind, message, event.payload, event_id)

    def _kind(self, field: str, name: str, category: Category) -> EventType:
        kind = category.by_name.get(name)
        if kind is not None:
            return kind
        check_id(f"{field}.type", name)
        declared = self._declarations.events.get(name)
        if declared is not None:
            refuse(
                f"{field}.type",
                f"{name} is an event of category `{declared.category}`, not `{category.name}`;"
                f" send it to a stream of its own category",
            )
        raise TypeUnknownError(
            f"{field}.type: no domain declares the event {name!r}; host one that does", type=name
        )

    def _header(self, header: CommandHeader) -> Header:
        command_id = check_id("header.command_id", header.command_id)
        return Header(
            command_id,
            check_optional_id("header.correlation_id", header.correlation_id) or command_id,
            check_optional_id("header.causation_id", header.causation_id),
            check_metadata("header.metadata", header.metadata) or None,
            _expected(header) if header.HasField("expected") else None,
            header.dry_run,
            self._wait_for(header.wait_for) if header.HasField("wait_for") else None,
        )

    def _wait_for(self, wait_for: WaitForMessage) -> WaitFor:
        for index, view in enumerate(wait_for.views):
            if view not in self._declarations.views:
                known = ", ".join(sorted(self._declarations.views)) or "none"
                refuse(f"header.wait_for.views[{index}]", f"is no view; there are: {known}")
        seconds = check_duration(
            "header.wait_for.max_wait",
            wait_for.max_wait if wait_for.HasField("max_wait") else None,
            minimum=WAIT_SECONDS_MIN,
            maximum=WAIT_SECONDS_MAX,
        )
        return WaitFor(tuple(wait_for.views), seconds)


def _expected(header: CommandHeader) -> Expected:
    expected = header.expected
    kind = expected.WhichOneof("kind")
    if kind is None:
        refuse("header.expected", "names no kind; set version, no_stream, stream_exists or any")
    if kind == "version" and expected.version == 0:
        refuse("header.expected.version", "is 0; say `no_stream` for a stream without events")
    return Expected(kind, expected.version)


def _check_event_ids(command_id: str, events: tuple[DecidedEvent, ...]) -> None:
    ids = {event.event_id or f"{command_id}.{index}" for index, event in enumerate(events)}
    if len(ids) < len(events):
        refuse("events", "two of them have the same event_id; give each its own")
