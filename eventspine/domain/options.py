"""Reads the platform's options from descriptors; promise: one place knows where they stand.

A descriptor of any pool will do: its options are read again as messages of the default pool, where
the platform's extensions are known.
"""

from functools import lru_cache

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumValueDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

from eventspine.v1 import options_pb2


def commands_option(service: ServiceDescriptor) -> options_pb2.CommandsOptions | None:
    """Returns the `commands` option of a service; None when it has none."""
    options = descriptor_pb2.ServiceOptions.FromString(service.GetOptions().SerializeToString())
    if not options.HasExtension(options_pb2.commands):
        return None
    return options.Extensions[options_pb2.commands]


def is_query_service(service: ServiceDescriptor) -> bool:
    """Tells whether a service has the `queries` option."""
    options = descriptor_pb2.ServiceOptions.FromString(service.GetOptions().SerializeToString())
    return options.HasExtension(options_pb2.queries)


def query_option(method: MethodDescriptor) -> options_pb2.QueryOptions | None:
    """Returns the `query` option of a method; None when it has none."""
    options = descriptor_pb2.MethodOptions.FromString(method.GetOptions().SerializeToString())
    if not options.HasExtension(options_pb2.query):
        return None
    return options.Extensions[options_pb2.query]


def is_stream_id(field: FieldDescriptor) -> bool:
    """Tells whether a field has the `stream_id` option set to true."""
    options = descriptor_pb2.FieldOptions.FromString(field.GetOptions().SerializeToString())
    return options.Extensions[options_pb2.stream_id]


def view_option(message: Descriptor) -> options_pb2.ViewOptions | None:
    """Returns the `view` option of a message; None when it has none."""
    options = descriptor_pb2.MessageOptions.FromString(message.GetOptions().SerializeToString())
    if not options.HasExtension(options_pb2.view):
        return None
    return options.Extensions[options_pb2.view]


def event_option(message: Descriptor) -> options_pb2.EventOptions | None:
    """Returns the `event` option of a message; None when it has none."""
    options = descriptor_pb2.MessageOptions.FromString(message.GetOptions().SerializeToString())
    if not options.HasExtension(options_pb2.event):
        return None
    return options.Extensions[options_pb2.event]


def refusal_option(value: EnumValueDescriptor) -> options_pb2.RefusalOptions | None:
    """Returns the `refusal` option of an enum value; None when it has none."""
    options = descriptor_pb2.EnumValueOptions.FromString(value.GetOptions().SerializeToString())
    if not options.HasExtension(options_pb2.refusal):
        return None
    return options.Extensions[options_pb2.refusal]


@lru_cache(maxsize=1024)
def key_fields(row: Descriptor) -> tuple[FieldDescriptor, ...]:
    """Returns the key fields of a row message: those of `partition_by`, then of `order_by`.

    Empty for a message without the `view` option.

    Raises:
        KeyError: The option names a field that the message does not have.
    """
    option = view_option(row)
    if option is None:
        return ()
    return tuple(row.fields_by_name[name] for name in (*option.partition_by, *option.order_by))
