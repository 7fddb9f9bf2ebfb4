"""P20 and the bulk path: durable appends over gRPC, client and server each in its own process."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from grpc import aio

from bench.accounts import ACCOUNTS, deposits, openings
from bench.children import Child
from bench.goals import P20
from bench.report import Figure, Found, Line
from bench.rounds import Half, interleave
from eventspine.v1.command_pb2 import ExecuteRequest, ExecuteResponse

IN_FLIGHT = 100
BULK_MESSAGE = 25
COMMANDS = 4_000
CALLS = 3_000
BULK_COMMANDS = 20_000
EXECUTE = "/eventspine.v1.CommandService/Execute"
DEPOSIT = "/bank.v1.AccountCommands/Deposit"
ECHO = "/bench.Raw/Call"


class Caller:
    """The client's side, on a loop of its own."""

    def __init__(self, address: str) -> None:
        """Connects to a server."""
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._address = address
        self._channel: aio.Channel

    def __enter__(self) -> "Caller":
        """Opens the channel."""
        self._channel = self._runner.run(_channel(self._address))
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self._runner.run(self._channel.close())
        self._runner.close()

    def bulk(self, requests: list[Any], *, message_commands: int, in_flight: int) -> Half:
        """Sends commands on one bulk stream; counts events stored now, or that would be stored."""
        messages = _messages(requests, message_commands)
        work = self._bulk(messages, in_flight // message_commands)
        began = time.perf_counter()
        stored = self._runner.run(work)
        return Half(len(requests), time.perf_counter() - began, stored)

    def unary(self, path: str, requests: list[Any], in_flight: int) -> Half:
        """Sends requests in calls of their own, so many at once; counts the answers."""
        encoded = [request.SerializeToString() for request in requests]
        began = time.perf_counter()
        answered = self._runner.run(self._unary(path, encoded, in_flight))
        return Half(len(requests), time.perf_counter() - began, answered)

    async def _bulk(self, messages: list[bytes], window: int) -> int:
        room = asyncio.Semaphore(window)

        async def sent() -> AsyncIterator[bytes]:
            for message in messages:
                await room.acquire()
                yield message

        call: aio.StreamStreamMultiCallable[bytes, ExecuteResponse] = self._channel.stream_stream(
            EXECUTE, None, ExecuteResponse.FromString
        )
        answered = stored = 0
        size = len(ExecuteRequest.FromString(messages[0]).commands)
        async for response in call(sent()):
            for verdict in response.verdicts:
                result = verdict.result
                stored += result.event_count or len(result.would_append)
                answered += 1
                if answered % size == 0:
                    room.release()
        return stored

    async def _unary(self, path: str, requests: list[bytes], in_flight: int) -> int:
        call: aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
        waiting, answered = iter(requests), 0

        async def caller() -> None:
            nonlocal answered
            for request in waiting:
                reply = await call(request)
                answered += bool(reply)

        await asyncio.gather(*(caller() for _ in range(in_flight)))
        return answered


def over_grpc(folder: Path) -> list[Found]:
    """Measures P20, and what the bulk path reaches with more on its way."""
    with ExitStack() as stack:
        echo = stack.enter_context(Child("echo", folder))
        platform = stack.enter_context(Child("platform", folder / "calls.db"))
        bank = stack.enter_context(Caller(platform.address))
        other = stack.enter_context(Caller(echo.address))
        bank.bulk(openings(), message_commands=500, in_flight=1_000)
        halves: dict[str, Callable[[], Half]] = {
            "bulk": lambda: bank.bulk(
                deposits(COMMANDS), message_commands=BULK_MESSAGE, in_flight=IN_FLIGHT
            ),
            "echo": lambda: other.unary(ECHO, deposits(CALLS), IN_FLIGHT),
            "unary": lambda: bank.unary(DEPOSIT, deposits(CALLS), IN_FLIGHT),
            "large": lambda: bank.bulk(
                deposits(BULK_COMMANDS), message_commands=500, in_flight=2_000
            ),
        }
        rounds = interleave(halves)
    setting = f"{ACCOUNTS} accounts, processor following, FULL"
    size = deposits(1)[0].ByteSize()
    large = sorted(rounds.rates("large"))
    return [
        Line(P20, rounds.over("bulk", "echo"), f"{setting}; bulk stream, requests of {size} bytes"),
        Line(P20, rounds.over("unary", "echo"), f"{setting}; a call for each command"),
        Figure("bulk path", large[len(large) // 2], "commands/s", f"{setting}, 2,000 in flight"),
    ]


async def _channel(address: str) -> aio.Channel:
    return aio.insecure_channel(
        address, options=(("grpc.max_receive_message_length", 64 * 1024 * 1024),)
    )


def _messages(requests: list[Any], size: int) -> list[bytes]:
    messages = []
    for first in range(0, len(requests), size):
        message = ExecuteRequest()
        for request in requests[first : first + size]:
            message.commands.add().Pack(request)
        messages.append(message.SerializeToString())
    return messages
