"""The command line's connection to a running platform, and how it reads that platform's messages.

Messages of any domain are read through the platform's own reflection service, so that the command
line needs no stubs of the domain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devstack.cli.failure import EXIT_UNREACHABLE, refused, stop
from devstack.cli.lazy import lazily
from eventspine.rpc.limits import COMMAND_BYTES_MAX

if TYPE_CHECKING:
    import grpc
    from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory
    from google.protobuf.message import Message
else:
    grpc = lazily("grpc")
    descriptor_pool = lazily("google.protobuf.descriptor_pool")
    json_format = lazily("google.protobuf.json_format")
    message_factory = lazily("google.protobuf.message_factory")

DEFAULT_ADDRESS = "127.0.0.1:7070"
CONNECT_SECONDS = 3.0
MESSAGE_BYTES_MAX = 2 * COMMAND_BYTES_MAX

Address = Annotated[
    str,
    typer.Option("--address", envvar="EVENTSPINE_ADDRESS", help="Where the platform listens."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


@contextmanager
def connected(address: str) -> Iterator[grpc.Channel]:
    """Opens a channel to a platform that answers; translates the errors of calls inside.

    After Ctrl-C the channel is left as it is, since the process ends: interrupted at a bad moment,
    the transport would wait for ever for a call that it has lost.

    Raises:
        CommandLineError: Nothing answers at the address, or a call was refused.
    """
    options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
    channel = grpc.insecure_channel(address, options=options)
    interrupted = False
    try:
        _wait_ready(channel, address)
        yield channel
    except KeyboardInterrupt:
        interrupted = True
        raise
    except grpc.RpcError as error:
        raise refused(error) from None
    finally:
        if not interrupted:
            channel.close()


def _wait_ready(channel: grpc.Channel, address: str) -> None:
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
    except grpc.FutureTimeoutError:
        stop(
            f"nothing answers at {address}; start a platform with `eventspine dev`, "
            "or name another one with --address",
            EXIT_UNREACHABLE,
        )


class Messages:
    """The message types that a platform knows, by its reflection service."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Prepares to ask over the channel; asks when a type is first needed."""
        from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
            ProtoReflectionDescriptorDatabase,
        )

        self._pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        self._classes: dict[str, type[Message]] = {}

    def named(self, name: str) -> type[Message]:
        """Returns the class of a message by its full name.

        Raises:
            CommandLineError: The platform has no message of that name.
        """
        if name not in self._classes:
            try:
                found = self._pool.FindMessageTypeByName(name)
            except KeyError:
                stop(f"the platform knows no message {name!r}; see its protos for full names")
            self._classes[name] = message_factory.GetMessageClass(found)
        return self._classes[name]

    def data(self, name: str, encoded: bytes) -> dict[str, Any]:
        """Returns an encoded message as plain data, all fields included."""
        return as_data(self.named(name).FromString(encoded))

    def any_data(self, packed: any_pb2.Any) -> dict[str, Any]:
        """Returns a packed message as plain data, all fields included."""
        return self.data(packed.TypeName(), packed.value)

    def parse(self, name: str, text: str) -> Message:
        """Makes a message of JSON text.

        Raises:
            CommandLineError: The text is not JSON of that message; says where.
        """
        message = self.named(name)()
        try:
            # The parser takes a list for a message without fields.
            if not text.lstrip().startswith("{"):
                stop(f"that is not the JSON of a {name}: it does not begin with {{")
            json_format.Parse(text, message)
        except (ValueError, RecursionError, json_format.ParseError) as error:
            stop(f"that is not the JSON of a {name}: {error}")
        return message


def as_data(message: Message) -> dict[str, Any]:
    """Returns a message as plain data with the field names of the proto, all fields included."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def line(data: dict[str, Any]) -> str:
    """Returns data as one line of JSON."""
    return json.dumps(data, ensure_ascii=False)
