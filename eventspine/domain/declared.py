"""What domains declare, read from their descriptors and checked once, at start-up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from eventspine.domain.aggregate import Aggregate
from eventspine.domain.view import Key, View


@dataclass(frozen=True, slots=True)
class CommandDeclaration:
    """One typed command.

    Attributes:
        service: Full name of the service.
        method: Name of the method.
        request: Class of the request message, whose full name identifies the command.
        response: Class of the response message, with a `result` field.
        aggregate: What decides it.
        stream_id_field: The name of the request field that names the stream.
    """

    service: str
    method: str
    request: type[Message]
    response: type[Message]
    aggregate: Aggregate[Any]
    stream_id_field: str


@dataclass(frozen=True, slots=True)
class EventDeclaration:
    """One type of event: its class, its category, and the fingerprint of its shape (8 bytes)."""

    message: type[Message]
    category: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class ViewDeclaration:
    """One view.

    Attributes:
        name: Full name of the row message.
        row: Class of the row message.
        key_fields: The fields of `partition_by`, then those of `order_by`.
        partition_field_count: How many of them are of `partition_by`.
        versions: The declared versions of its code, by version; one or more.
    """

    name: str
    row: type[Message]
    key_fields: tuple[FieldDescriptor, ...]
    partition_field_count: int
    versions: Mapping[int, View[Any]]

    def key_of(self, message: Message) -> Key:
        """Returns the key values of a row, or of a request with fields of the same names."""
        return tuple(getattr(message, field.name) for field in self.key_fields)


@dataclass(frozen=True, slots=True)
class QueryDeclaration:
    """One typed query: `kind` is `get`, `list` or `watch`."""

    service: str
    method: str
    kind: str
    view: ViewDeclaration
    request: type[Message]
    response: type[Message]


@dataclass(frozen=True, slots=True)
class Declarations:
    """All that the hosted domains declare.

    Attributes:
        commands: By full name of the request message.
        queries: All typed queries.
        events: By full name of the event message.
        views: By name.
        aggregates: By category.
    """

    commands: Mapping[str, CommandDeclaration]
    queries: tuple[QueryDeclaration, ...]
    events: Mapping[str, EventDeclaration]
    views: Mapping[str, ViewDeclaration]
    aggregates: Mapping[str, Aggregate[Any]]
