"""Reads and checks the command services: what decides each typed command, on which stream."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import (
    Descriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.message_factory import GetMessageClass

from eventspine.domain.aggregate import Aggregate
from eventspine.domain.declare_aggregates import is_message
from eventspine.domain.declared import CommandDeclaration
from eventspine.domain.options import commands_option, is_stream_id, query_option
from eventspine.domain.problems import Problems
from eventspine.domain.shapes import (
    CATEGORY_CURE,
    check_field,
    descriptor_of,
    type_words,
    valid_category,
)

Aggregates = Mapping[str, Aggregate[Any]]

_STREAM_ID = "[(eventspine.v1.stream_id) = true]"


class _Command(NamedTuple):
    category: str
    method: MethodDescriptor


def declare_commands(
    files: Iterable[FileDescriptor], aggregates: Aggregates, problems: Problems
) -> dict[str, CommandDeclaration]:
    """Returns the typed commands of the files, by full name of the request message."""
    services = list(_command_services(files))
    for category, service in services:
        _check_service(category, service, aggregates, problems)
    commands = [
        _Command(category, method) for category, service in services for method in service.methods
    ]
    _check_deciders(commands, aggregates, problems)
    declared: dict[str, CommandDeclaration] = {}
    for command in commands:
        request = command.method.input_type
        if request.full_name in declared:
            words = f"{declared[request.full_name].method} takes the same request"
            problems.add(command.method, words, "give each command its own request message")
            continue
        stream_id = _check_method(command.method, problems)
        aggregate = aggregates.get(command.category)
        if aggregate is not None and stream_id is not None:
            declared[request.full_name] = CommandDeclaration(
                command.method.containing_service.full_name,
                command.method.name,
                GetMessageClass(request),
                GetMessageClass(command.method.output_type),
                aggregate,
                stream_id,
            )
    return declared


def _command_services(
    files: Iterable[FileDescriptor],
) -> Iterator[tuple[str, ServiceDescriptor]]:
    for file in files:
        for service in file.services_by_name.values():
            option = commands_option(service)
            if option is not None:
                yield option.category, service


def _check_service(
    category: str, service: ServiceDescriptor, aggregates: Aggregates, problems: Problems
) -> None:
    if not valid_category(category):
        problems.add(service, f"its commands option has the category {category!r}", CATEGORY_CURE)
    elif category not in aggregates:
        cure = f"add `Aggregate(category={category!r}, ...)` to the domain's aggregates"
        problems.add(service, f"no aggregate has the category {category!r}", cure)
    if not service.methods:
        problems.add(service, "has no method", "add a method for each command, or remove it")


def _check_deciders(
    commands: Iterable[_Command], aggregates: Aggregates, problems: Problems
) -> None:
    commands = list(commands)
    for category, method in commands:
        aggregate = aggregates.get(category)
        request = GetMessageClass(method.input_type)
        if aggregate is not None and request not in aggregate.deciders:
            cure = f"add {request.DESCRIPTOR.name} to the deciders of the aggregate {category!r}"
            problems.add(method, "nothing decides this command", cure)
    for aggregate in aggregates.values():
        own = {c.method.input_type.full_name for c in commands if c.category == aggregate.category}
        for message in aggregate.deciders:
            if is_message(message) and message.DESCRIPTOR.full_name not in own:
                words = (
                    f"the aggregate {aggregate.category!r} has a decider for it, but it is the "
                    "request of no command of this category"
                )
                cure = "remove the decider, or add a method that takes it"
                problems.add(descriptor_of(message), words, cure)


def _check_method(method: MethodDescriptor, problems: Problems) -> str | None:
    if method.client_streaming or method.server_streaming:
        problems.add(method, "is a stream", "make it unary: one request, one response")
    if query_option(method) is not None:
        cure = "remove it, or move the method to a service with the queries option"
        problems.add(method, "a command has the query option", cure)
    check_field(method.input_type, "header", "eventspine.v1.CommandHeader", problems)
    check_field(method.output_type, "result", "eventspine.v1.CommandResult", problems)
    return _stream_id_of(method.input_type, problems)


def _stream_id_of(request: Descriptor, problems: Problems) -> str | None:
    marked = [field for field in request.fields if is_stream_id(field)]
    if not marked:
        problems.add(request, "no field names the stream", f"add {_STREAM_ID} to a string field")
    for field in marked:
        if field.type != FieldDescriptor.TYPE_STRING or field.is_repeated:
            words = f"names the stream, but is {type_words(field)}"
            problems.add(field, words, "make it a string")
    if len(marked) > 1:
        names = " and ".join(field.name for field in marked)
        problems.add(request, f"{names} both name the stream", f"keep {_STREAM_ID} on one")
    return marked[0].name if len(marked) == 1 else None
