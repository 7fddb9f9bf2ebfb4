"""Servers of the suite in processes of their own: the platform, an echo, a raw stream, raw sockets.

`python -m bench.servers KIND ARGUMENT` prints its address, then answers each line of standard input
with a line, and ends with the input.
"""

import asyncio
import pickle
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bank.v1 import account_pb2 as pb
from devstack.cli.dev import run_loop
from devstack.embedded import Embedded
from eventspine.process.domains import SHIPPED, find_domains
from eventspine.v1.command_pb2 import CommandResult

Answer = Callable[[str], Awaitable[str]]
Server = AbstractAsyncContextManager[tuple[str, Answer]]

OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 10_000))
PAUSE_SECONDS = 0.002
"""How long the raw sockets rest after a message, so that each is written on its own."""

BURST_SECONDS = 0.03
"""How long bare streams rest after a message, so that each burst finds the process idle, as ours
does."""


def main() -> None:
    """Serves until the input ends."""
    kind, argument = sys.argv[1], sys.argv[2]
    servers: dict[str, Callable[[Path], Server]] = {
        "platform": platform,
        "echo": echo,
        "stream": stream,
        "typed": typed,
        "push": push,
        "sockets": sockets,
    }
    run_loop(_serve(servers[kind](Path(argument))))


@asynccontextmanager
async def platform(db: Path) -> AsyncIterator[tuple[str, Answer]]:
    """The embedded platform on a file."""
    async with Embedded(find_domains(SHIPPED), db=db) as running:
        yield running.address, _no_answer


@asynccontextmanager
async def echo(_: Path) -> AsyncIterator[tuple[str, Answer]]:
    """A unary method that gives back what it gets, and stores nothing."""

    async def handler(request: bytes, context: aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(handler)
    async with _bare("Call", method) as address:
        yield address, _no_answer


@asynccontextmanager
async def stream(messages: Path) -> AsyncIterator[tuple[str, Answer]]:
    """A stream of ready messages, as quickly as they are taken."""
    ready = _ready(messages)

    async def handler(
        request: bytes, context: aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        for message in ready:
            yield message

    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(handler)
    async with _bare("Call", method) as address:
        yield address, _no_answer


@asynccontextmanager
async def typed(messages: Path) -> AsyncIterator[tuple[str, Answer]]:
    """The platform's own methods, typed, that store nothing; a subscription of ready messages."""
    ready = _ready(messages)

    async def deposit(
        request: pb.DepositRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.DepositResponse:
        result = CommandResult(stream=f"account/{request.account_id}", last_version=1)
        return pb.DepositResponse(result=result)

    async def open_account(
        request: pb.OpenAccountRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.OpenAccountResponse:
        return pb.OpenAccountResponse(result=CommandResult(stream=request.account_id))

    async def subscribe(
        request: bytes, context: aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        for message in ready:
            yield message

    def unary(handler: Any, request: Any, response: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            handler, request.FromString, response.SerializeToString
        )

    commands = {
        "Deposit": unary(deposit, pb.DepositRequest, pb.DepositResponse),
        "OpenAccount": unary(open_account, pb.OpenAccountRequest, pb.OpenAccountResponse),
    }
    queries: dict[str, Any] = {"Subscribe": grpc.unary_stream_rpc_method_handler(subscribe)}
    server = aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler("bank.v1.AccountCommands", commands),
            grpc.method_handlers_generic_handler("eventspine.v1.QueryService", queries),
        ]
    )
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    for name in ("", "bank.v1.AccountCommands", "eventspine.v1.QueryService"):
        await healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", _no_answer
    finally:
        await server.stop(0)


@asynccontextmanager
async def push(_: Path) -> AsyncIterator[tuple[str, Answer]]:
    """Bare streams; `COUNT BYTES` writes so many messages of that size to each of them."""
    queues: list[asyncio.Queue[bytes]] = []

    async def handler(
        request: bytes, context: aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        queues.append(queue)
        while True:
            yield await queue.get()

    async def answer(line: str) -> str:
        count, size = map(int, line.split())
        message = bytes(size)
        for _ in range(count):
            for queue in queues:
                queue.put_nowait(message)
            await asyncio.sleep(BURST_SECONDS)
        return str(len(queues))

    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(handler)
    async with _bare("Call", method) as address:
        yield address, answer


@asynccontextmanager
async def sockets(_: Path) -> AsyncIterator[tuple[str, Answer]]:
    """Plain connections; `COUNT BYTES` writes so many messages of that size to each of them."""
    writers: list[asyncio.StreamWriter] = []

    async def opened(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read()
        writer.close()

    async def answer(line: str) -> str:
        count, size = map(int, line.split())
        message = bytes(size)
        for _ in range(count):
            for writer in writers:
                writer.write(message)
            await asyncio.sleep(PAUSE_SECONDS)
        return str(len(writers))

    server = await asyncio.start_server(opened, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"127.0.0.1:{port}", answer


def _ready(messages: Path) -> list[bytes]:
    ready: list[bytes] = pickle.loads(messages.read_bytes())
    return ready


@asynccontextmanager
async def _bare(name: str, method: "grpc.RpcMethodHandler[bytes, bytes]") -> AsyncIterator[str]:
    server = aio.server(options=OPTIONS)
    handlers = grpc.method_handlers_generic_handler("bench.Raw", {name: method})
    server.add_generic_rpc_handlers([handlers])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def _no_answer(line: str) -> str:
    return line


async def _serve(server: Server) -> None:
    loop = asyncio.get_running_loop()
    async with server as (address, answer):
        _say(address)
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            _say(str(time.process_time()) if line == "cpu" else await answer(line))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
