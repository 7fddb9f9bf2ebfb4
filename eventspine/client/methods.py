"""Finds the method that takes a message, from the descriptors that the message brings along."""

import uuid
from functools import lru_cache
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from eventspine.v1 import options_pb2
from eventspine.v1.command_pb2 import CommandHeader

_QUERIES: Final = "eventspine.v1.QueryService"


class MethodChoice(NamedTuple):
    """The method that a request goes to.

    Attributes:
        path: As the transport names it, `/service/method`.
        response: The class of the response.
        streaming: Whether the response is a stream.
        command: Whether the request carries a command header.
        repeatable: Whether sending the same request again is safe.
    """

    path: str
    response: type[Message]
    streaming: bool
    command: bool
    repeatable: bool


@lru_cache(maxsize=4096)
def method_of(request: Descriptor) -> MethodChoice:
    """Returns the one method that takes a request; it stands in the same proto file.

    Raises:
        LookupError: No method of that file takes the message, or several do: call it by a stub.
    """
    found = [
        method
        for service in request.file.services_by_name.values()
        for method in service.methods
        if method.input_type is request and not method.client_streaming
    ]
    if len(found) != 1:
        raise LookupError(
            f"{len(found)} methods of {request.file.name} take {request.full_name}; "
            "call the method by its generated stub, `client.stub(...)`"
        )
    return _choice(found[0])


def identify(command: Any) -> Any:
    """Gives a command a random id, in the message itself, unless it has one. Returns it."""
    header = command.header
    if not header.command_id:
        header.command_id = uuid.uuid4().hex
    return command


def encoded(message: Message) -> bytes:
    """Returns the encoding of a request, as the transport asks for it."""
    return message.SerializeToString()


def _choice(method: MethodDescriptor) -> MethodChoice:
    service = method.containing_service
    header = method.input_type.fields_by_name.get("header")
    command = header is not None and header.message_type is CommandHeader.DESCRIPTOR
    reads = service.full_name == _QUERIES or service.GetOptions().HasExtension(options_pb2.queries)
    return MethodChoice(
        path=f"/{service.full_name}/{method.name}",
        response=GetMessageClass(method.output_type),
        streaming=method.server_streaming,
        command=command,
        repeatable=command or reads,
    )
