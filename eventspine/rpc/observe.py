"""Counts calls as they begin and end; promise: each call is counted once, with its status.

The names are those of go-grpc-prometheus, which dashboards know.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any, TypeVar

import grpc

from eventspine.rpc.call import Context, StreamCall, UnaryCall
from eventspine.rpc.figures import Figure, Labels, Timings
from eventspine.rpc.method import Method

_Reply = TypeVar("_Reply")

_LABELS: Labels = ("grpc_type", "grpc_service", "grpc_method")


class CallCounts:
    """How many calls of each method began and ended, how, and how long they took."""

    def __init__(self) -> None:
        """Starts with none."""
        self._started: dict[Labels, float] = {}
        self._handled: dict[Labels, float] = {}
        self._seconds: dict[Labels, Timings] = {}

    def unary(self, method: Method, serve: UnaryCall) -> UnaryCall:
        """Returns the same call, counted."""
        return self._counted("unary", method, serve)

    def stream(self, method: Method, serve: StreamCall) -> StreamCall:
        """Returns the same call, counted."""
        kind = "server_stream" if method.bidi_stream is None else "bidi_stream"
        return self._counted(kind, method, serve)

    def figures(self) -> Iterable[Figure]:
        """Returns what was counted."""
        yield Figure(
            "grpc_server_started_total", "counter", "Calls that began.", _LABELS, self._started
        )
        yield Figure(
            "grpc_server_handled_total",
            "counter",
            "Calls that ended, by their status.",
            (*_LABELS, "grpc_code"),
            self._handled,
        )
        yield Figure(
            "grpc_server_handling_seconds",
            "timings",
            "How long calls took, streams from their first message to their last.",
            _LABELS,
            self._seconds,
        )

    def _counted(
        self, kind: str, method: Method, serve: Callable[[Any, Context], Awaitable[_Reply]]
    ) -> Callable[[Any, Context], Awaitable[_Reply]]:
        labels = (kind, method.service, method.name)
        started, handled, timings = self._started, self._handled, Timings()
        started[labels] = 0
        self._seconds[labels] = timings

        async def counted(raw: Any, context: Context) -> _Reply:
            started[labels] += 1
            began, code = perf_counter(), grpc.StatusCode.OK
            try:
                return await serve(raw, context)
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except BaseException:
                # The transport knows no status of a defect that nobody has caught.
                code = _CODES.get(context.code(), grpc.StatusCode.UNKNOWN)
                raise
            finally:
                timings.note(perf_counter() - began)
                key = (*labels, _name(code))
                handled[key] = handled.get(key, 0) + 1

        return counted


_CODES: dict[object, grpc.StatusCode] = {
    key: code for code in grpc.StatusCode for key in (code, code.value[0])
}


def _name(code: grpc.StatusCode) -> str:
    """Returns a status as go-grpc-prometheus writes it: `OK`, `InvalidArgument`."""
    if code is grpc.StatusCode.OK:
        return "OK"
    return "".join(word.capitalize() for word in code.name.split("_"))
