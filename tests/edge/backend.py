"""A service of a test's own behind the edge: it answers bytes, and counts what reaches it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

Answering = Callable[[bytes, Any], Awaitable[bytes]]


class Backend:
    """A server that answers every unary method in the same way.

    Attributes:
        address: Where it listens.
        calls: The metadata of each call that has begun, by name.
    """

    def __init__(self, answering: Answering) -> None:
        self.address = ""
        self.calls: list[dict[str, str]] = []
        self.health = health.aio.HealthServicer()
        self._answering = answering

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if details.method.startswith("/grpc."):
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, raw: bytes, context: Any) -> bytes:
        self.calls.append(dict(context.invocation_metadata()))
        return await self._answering(raw, context)


class _Everything(grpc.GenericRpcHandler):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._backend.service(handler_call_details)


@asynccontextmanager
async def backend(
    answering: Answering, *, credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[Backend]:
    """A running server."""
    made = Backend(answering)
    server = aio.server()
    server.add_generic_rpc_handlers([_Everything(made)])
    health_pb2_grpc.add_HealthServicer_to_server(made.health, server)
    await made.health.set("", health_pb2.HealthCheckResponse.SERVING)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    made.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield made
    finally:
        await server.stop(0)


async def echo(raw: bytes, context: Any) -> bytes:
    """Answers nothing, which is an empty message of any kind."""
    return b""


class Gate:
    """Lets calls through when it is opened.

    Attributes:
        waiting: How many calls wait.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def pass_(self, raw: bytes, context: Any) -> bytes:
        self.waiting += 1
        await self._opened.wait()
        return b""
