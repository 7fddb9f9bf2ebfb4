"""Makes one message of every kind with every field set, the same each time, for comparisons."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from bank.v1 import account_pb2, views_pb2
from eventspine.v1 import (
    admin_pb2,
    change_pb2,
    command_pb2,
    query_pb2,
    record_pb2,
    subscription_pb2,
)
from flights.v1 import flight_pb2
from flights.v1 import views_pb2 as flight_views_pb2

MODULES: tuple[ModuleType, ...] = (
    record_pb2,
    command_pb2,
    query_pb2,
    subscription_pb2,
    admin_pb2,
    change_pb2,
    account_pb2,
    views_pb2,
    flight_pb2,
    flight_views_pb2,
)
DEPTH_MAX = 3


def filled_messages() -> Iterator[tuple[str, Message]]:
    """Yields each message of the contract by its full name; one more for each choice of a oneof."""
    for module in MODULES:
        for descriptor in module.DESCRIPTOR.message_types_by_name.values():
            yield descriptor.full_name, filled(descriptor)
            for oneof in descriptor.oneofs:
                for chosen in oneof.fields[1:]:
                    yield f"{descriptor.full_name}.{chosen.name}", filled(descriptor, chosen)


def filled(
    descriptor: Descriptor, chosen: FieldDescriptor | None = None, depth: int = 0
) -> Message:
    """Returns a message with every field set; of a oneof the chosen field, else the first."""
    message = GetMessageClass(descriptor)()
    if descriptor.full_name == "google.protobuf.Any":
        message.Pack(admin_pb2.ListViewsRequest(view="packed"))  # type: ignore[attr-defined]  # it is an Any
        return message
    for field in descriptor.fields:
        oneof = field.containing_oneof
        wanted = chosen if chosen is not None and chosen.containing_oneof is oneof else None
        if oneof is not None and field is not (wanted or oneof.fields[0]):
            continue
        if field.message_type is not None and depth == DEPTH_MAX:
            continue
        _set(message, field, depth)
    return message


def _set(message: Any, field: FieldDescriptor, depth: int) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields_by_name.values()
        getattr(message, field.name)[_scalar(key)] = _scalar(value)
    elif field.message_type is not None:
        inner = filled(field.message_type, depth=depth + 1)
        target = getattr(message, field.name)
        (target.add() if field.is_repeated else target).CopyFrom(inner)
        if not field.is_repeated:
            target.SetInParent()
    elif field.is_repeated:
        getattr(message, field.name).append(_scalar(field))
    else:
        setattr(message, field.name, _scalar(field))


def _scalar(field: FieldDescriptor) -> Any:
    """Returns a value that is not the default and tells the field from its neighbours."""
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"{field.name} é"
    if field.type == FieldDescriptor.TYPE_BYTES:
        return field.name.encode()
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    return field.number + 10
