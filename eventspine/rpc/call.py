"""One call, from bytes to bytes; promise: whatever fails, the caller gets a status that says why.

A request is parsed here and not by the transport, so that bytes which are no message are the
caller's error and not an internal one. A caller that goes away ends the handler, quietly.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from time import monotonic
from typing import Any, Final, NoReturn
from urllib.parse import quote

import grpc
from google.protobuf.message import DecodeError, Message
from grpc import aio

from eventspine.rpc import limits, logs
from eventspine.rpc.context import CallContext
from eventspine.rpc.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    LimitExceededError,
    ShuttingDownError,
    Violation,
)
from eventspine.rpc.method import Method, Reply, StreamHandler, UnaryHandler
from eventspine.rpc.status import to_status

Context = aio.ServicerContext[bytes, bytes]
Parting = Mapping[str, Callable[[], str]]
UnaryCall = Callable[[bytes, Context], Awaitable[bytes]]
StreamCall = Callable[[Any, Context], Awaitable[None]]

DETAILS_KEY: Final = "grpc-status-details-bin"
"""The trailing metadata in which gRPC carries a google.rpc.Status."""

COMMAND_ID_KEY: Final = "x-command-id"
"""The trailing metadata in which a command's id is said to those who pass the answer on and cannot
read it, such as a gateway that logs it. Percent-encoded where it is not ASCII."""

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_OPERATORS: Final = frozenset((grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS))
_log = logging.getLogger("eventspine.rpc")


class OpenCalls:
    """What a host knows of its calls: the streams that are open, and whether it is stopping."""

    def __init__(self) -> None:
        """Starts with none."""
        self.stopping = False
        self._streams: set[asyncio.Task[Any]] = set()

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def opened(self) -> asyncio.Task[Any]:
        """Notes that the current task serves a stream; returns the task."""
        task = asyncio.current_task()
        assert task is not None, "a stream is always served by a task"
        self._streams.add(task)
        return task

    def closed(self, task: asyncio.Task[Any]) -> None:
        """Notes that a task serves its stream no longer."""
        self._streams.discard(task)

    def stop(self) -> None:
        """Refuses new calls from now on, and ends open streams with SHUTTING_DOWN."""
        self.stopping = True
        for task in self._streams:
            task.cancel()


def parse(kind: type[Message], raw: bytes) -> Message:
    """Parses a request.

    Raises:
        LimitExceededError: It is larger than any request may be. Nothing was stored.
        InvalidRequestError: The bytes are no such message. Nothing was stored.
    """
    if len(raw) > limits.REQUEST_BYTES_MAX:
        raise LimitExceededError(
            f"the request has {len(raw)} bytes; send at most {limits.REQUEST_BYTES_MAX}",
            limit="request_bytes",
            maximum=str(limits.REQUEST_BYTES_MAX),
            actual=str(len(raw)),
        )
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise InvalidRequestError(
            Violation(
                "request",
                f"cannot be read as {kind.DESCRIPTOR.full_name}; send that message, encoded by "
                "protobuf, text in UTF-8, nested at most 100 deep",
            )
        ) from error


def command_id(request: object) -> str:
    """Returns the id of a command as a header can carry it; empty where there is none."""
    named: str = getattr(getattr(request, "header", None), "command_id", "")
    if len(named) > limits.ID_BYTES_MAX:
        return ""
    return named if named.isascii() and named.isprintable() else quote(named)


def call_context(context: Context) -> CallContext:
    """Returns what a handler may know of the call.

    Raises:
        DeadlineExceededError: The caller's deadline has passed. Nothing was stored.
    """
    remaining = context.time_remaining()
    # The stubs promise a number; the transport gives None where the caller set no deadline.
    if remaining is not None and remaining <= 0:
        raise DeadlineExceededError("the deadline passed before the work began; allow more time")
    return CallContext(_counted_down(remaining), context.cancelled)


def _counted_down(remaining: float | None) -> Callable[[], float | None]:
    """Returns what tells the time that is left, whatever becomes of the system's clock.

    The transport would compare a time of that clock with the clock anew each time.
    """
    if remaining is None:
        return lambda: None
    end = monotonic() + remaining
    return lambda: end - monotonic()


def unary_call(method: Method, handler: UnaryHandler, calls: OpenCalls) -> UnaryCall:
    """Returns what the transport calls for a unary method."""
    kind = method.request
    path = f"{method.service}/{method.name}"

    async def serve(raw: bytes, context: Context) -> bytes:
        request = None
        try:
            if calls.stopping:
                raise ShuttingDownError("the process is stopping; try another instance")
            request = parse(kind, raw)
            if named := command_id(request):
                context.set_trailing_metadata(((COMMAND_ID_KEY, named),))
            reply = await handler(request, call_context(context))
        except Exception as error:
            await refuse(context, error, path, request)
        return reply if type(reply) is bytes else reply.SerializeToString()  # type: ignore[union-attr]  # mypy does not narrow by `type(...) is`

    return serve


def stream_call(
    method: Method, handler: StreamHandler, calls: OpenCalls, *, many_requests: bool
) -> StreamCall:
    """Returns what the transport calls for a method that sends replies as they come."""
    kind = method.request
    path = f"{method.service}/{method.name}"

    async def serve(raw: Any, context: Context) -> None:
        task = calls.opened()
        request = None
        parting: Parting = {}
        try:
            if calls.stopping:
                raise ShuttingDownError("the process is stopping; try another instance")
            request = _parse_each(kind, raw) if many_requests else parse(kind, raw)
            told = call_context(context)
            parting = told.parting
            await _send(handler(request, told), context)
        except asyncio.CancelledError:
            if not calls.stopping or context.cancelled():
                raise
            task.uncancel()
            text = "the process is stopping; resume on another instance"
            await refuse(context, _stopped(text, parting), path, None)
        except ShuttingDownError as error:
            await refuse(context, _stopped(str(error), parting), path, None)
        except Exception as error:
            await refuse(context, error, path, None if many_requests else request)
        finally:
            calls.closed(task)

    return serve


def _stopped(text: str, parting: Parting) -> ShuttingDownError:
    """Returns the end of a stream, with what its handler tells for the way."""
    return ShuttingDownError(text, **{name: tell() for name, tell in parting.items()})


async def _parse_each(kind: type[Message], raws: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    """Parses the requests of a stream as they come."""
    async for raw in raws:
        yield parse(kind, raw)


async def _send(replies: AsyncIterator[Reply], context: Context) -> None:
    """Sends replies as they come; closes their iterator whatever happens.

    Raises:
        CancelledError: The caller has gone.
    """
    try:
        async for reply in replies:
            raw = reply if isinstance(reply, bytes) else reply.SerializeToString()
            try:
                await context.write(raw)
            except aio.InternalError as error:
                # The transport says no more than that it could not send: nobody listens.
                raise asyncio.CancelledError from error
    finally:
        close = getattr(replies, "aclose", None)
        if close is not None:
            await close()


async def refuse(context: Context, error: Exception, path: str, request: object) -> NoReturn:
    """Ends a call with the status of an error, and logs what operators have to know.

    Raises:
        CancelledError: The caller has gone.
    """
    status = to_status(error)
    code = _CODES[status.code]
    if code in _OPERATORS or _log.isEnabledFor(logging.INFO):
        _log_failure(error, code, path, request)
    trailers: list[tuple[str, str | bytes]]
    trailers = [(DETAILS_KEY, status.SerializeToString(deterministic=True))]
    if named := command_id(request):
        trailers.append((COMMAND_ID_KEY, named))
    try:
        await context.abort(code, status.message, tuple(trailers))
    except aio.InternalError as broken:
        # The transport says no more than that it could not send: nobody listens.
        raise asyncio.CancelledError from broken


def _log_failure(error: Exception, code: grpc.StatusCode, path: str, request: object) -> None:
    """Writes a line on a failed call; with the traceback where an operator has to act."""
    severe = code in _OPERATORS
    header = getattr(request, "header", None)
    logs.write(
        _log,
        logging.ERROR if severe else logging.INFO,
        f"{path} failed: {error}",
        error=error if severe else None,
        method=path,
        code=code.name,
        reason=type(error).__name__,
        command_id=getattr(header, "command_id", ""),
        stream=getattr(request, "stream", ""),
    )
