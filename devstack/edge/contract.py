"""Finds what is to be routed; promise: every hosted method, from descriptors and options alone.

A service belongs where its option says: `commands` to the command services, `queries` to the query
services. The platform's own three are known by name.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.rpc import error_details_pb2, status_pb2

from eventspine.v1 import admin_pb2, command_pb2, options_pb2, query_pb2

PLATFORM: Final = (command_pb2, query_pb2, admin_pb2)
"""The generated modules with the platform's own services."""


class Kind(StrEnum):
    """Which services answer a call."""

    COMMAND = "command"
    QUERY = "query"
    ADMIN = "admin"


_OWN_SERVICES: Final = {
    "eventspine.v1.CommandService": Kind.COMMAND,
    "eventspine.v1.QueryService": Kind.QUERY,
    "eventspine.v1.AdminService": Kind.ADMIN,
}


class RoutedService(NamedTuple):
    """A service of the contract.

    Attributes:
        name: Its full name.
        kind: Who answers it.
        unary: The names of its methods with one request and one response, in proto order.
        streaming: The names of all others.
    """

    name: str
    kind: Kind
    unary: tuple[str, ...]
    streaming: tuple[str, ...]


PROBES: Final = (
    RoutedService("grpc.health.v1.Health", Kind.QUERY, ("Check",), ("Watch",)),
    RoutedService(
        "grpc.reflection.v1alpha.ServerReflection", Kind.QUERY, (), ("ServerReflectionInfo",)
    ),
)
"""What every process answers beside the contract. Query services do it for the platform: they know
every message, and reading is what needs them."""


def descriptor_set(modules: Iterable[object]) -> descriptor_pb2.FileDescriptorSet:
    """Returns the descriptors of generated modules and all that they import, imports first.

    The platform's own services and the details of errors are always in it.

    Args:
        modules: Modules whose names end in `_pb2`, such as `Domain.protos`.
    """
    found = descriptor_pb2.FileDescriptorSet()
    seen: set[str] = set()
    for module in (*modules, *PLATFORM, status_pb2, error_details_pb2):
        _add(module.DESCRIPTOR, found, seen)  # type: ignore[attr-defined]  # of generated modules
    return found


def routed_services(contract: descriptor_pb2.FileDescriptorSet) -> list[RoutedService]:
    """Returns the services of a descriptor set that the platform hosts, by name."""
    services = []
    for file in contract.file:
        for service in file.service:
            name = f"{file.package}.{service.name}" if file.package else service.name
            kind = _kind(name, service)
            if kind is not None:
                unary, streaming = _methods(service)
                services.append(RoutedService(name, kind, unary, streaming))
    return sorted(services)


def _add(file: FileDescriptor, found: descriptor_pb2.FileDescriptorSet, seen: set[str]) -> None:
    """Adds a file behind its imports."""
    if file.name in seen:
        return
    seen.add(file.name)
    for imported in file.dependencies:
        _add(imported, found, seen)
    file.CopyToProto(found.file.add())


def _kind(name: str, service: descriptor_pb2.ServiceDescriptorProto) -> Kind | None:
    """Returns who answers a service; None when the platform does not host it."""
    options = descriptor_pb2.ServiceOptions.FromString(service.options.SerializeToString())
    if options.HasExtension(options_pb2.commands):
        return Kind.COMMAND
    if options.HasExtension(options_pb2.queries):
        return Kind.QUERY
    return _OWN_SERVICES.get(name)


def _methods(
    service: descriptor_pb2.ServiceDescriptorProto,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names of the unary methods and of the streaming ones."""
    unary: list[str] = []
    streaming: list[str] = []
    for method in service.method:
        streams = method.client_streaming or method.server_streaming
        (streaming if streams else unary).append(method.name)
    return tuple(unary), tuple(streaming)
