"""A method to be hosted: its names, its messages and its handler, without the transport."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from eventspine.rpc.context import CallContext

Reply = Message | bytes
"""A response message, or its ready encoding."""

UnaryHandler = Callable[[Any, CallContext], Awaitable[Reply]]
StreamHandler = Callable[[Any, CallContext], AsyncIterator[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of one service. Exactly one of the three handlers is set.

    Attributes:
        service: The full name of the service, for example `bank.v1.AccountCommands`.
        name: The method's own name.
        request: The class of the request message.
        unary: Answers one request with one reply.
        server_stream: Answers one request with replies as they come.
        bidi_stream: Gets an async iterator of requests; answers with replies as they come.
    """

    service: str
    name: str
    request: type[Message]
    unary: UnaryHandler | None = None
    server_stream: StreamHandler | None = None
    bidi_stream: StreamHandler | None = None
