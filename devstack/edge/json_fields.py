"""Tells which JSON names each message has; promise: none that the contract does not name.

Envoy's transcoder drops names that it does not know. `envoy/unknown_fields.lua` refuses them, by
the tables that are made here.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

_ANY: Final = "google.protobuf.Any"
_EMPTY: Final = "google.protobuf.Empty"
_WELL_KNOWN: Final = "google.protobuf."


def request_table(contract: FileDescriptorSet, services: Iterable[str]) -> str:
    """Returns lines of a Lua table: the request message of each method with one request, by path.

    Args:
        contract: All that is hosted.
        services: The full names of the services to list.
    """
    pool = _pool(contract)
    return "".join(
        f'  ["/{service}/{method.name}"] = "{method.input_type.full_name}",\n'
        for service in services
        for method in pool.FindServiceByName(service).methods
        if not method.client_streaming
    )


def field_table(contract: FileDescriptorSet) -> str:
    """Returns lines of a Lua table: the fields of every message, by both names of each."""
    pool = _pool(contract)
    lines = []
    for file in contract.file:
        for message in _messages(pool.FindFileByName(file.name).message_types_by_name.values()):
            fields = {
                name: _holds(field)
                for field in message.fields
                for name in (field.name, field.json_name)
            }
            pairs = ", ".join(f'["{name}"] = {held}' for name, held in fields.items())
            if not _opaque(message):
                lines.append(f'  ["{message.full_name}"] = {{{pairs}}},\n')
    return "".join(lines)


def _pool(contract: FileDescriptorSet) -> DescriptorPool:
    pool = DescriptorPool()
    for file in contract.file:
        pool.Add(file)
    return pool


def _messages(found: Iterable[Descriptor]) -> Iterator[Descriptor]:
    """Yields messages and those that are declared inside of them."""
    for message in found:
        yield message
        yield from _messages(message.nested_types)


def _opaque(message: Descriptor) -> bool:
    """Tells whether a message has a JSON form of its own, such as the text of a duration."""
    name = message.full_name
    return name.startswith(_WELL_KNOWN) and name != _EMPTY


def _holds(field: FieldDescriptor) -> str:
    """Returns what a field may hold, as the Lua table says it."""
    message = field.message_type
    if message is None:
        return "true"
    if message.GetOptions().map_entry:
        inner = message.fields_by_name["value"].message_type
        return f'"map:{inner.full_name if inner is not None and not _opaque(inner) else ""}"'
    if _opaque(message) and message.full_name != _ANY:
        return "true"
    return f'"{message.full_name}"'
