"""P14: what a delivery to a live subscription costs the server, against plain socket writes."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from bench.accounts import deposits, openings
from bench.calls import Caller
from bench.children import Child
from bench.goals import P14
from bench.report import Figure, Found, Line
from bench.rounds import Half, interleave
from bench.streams import RAW, SUBSCRIBE, open_channel, raw_stream
from eventspine.v1.subscription_pb2 import SubscribeRequest, SubscribeResponse

SUBSCRIBERS = 200
CHANNELS = 4
BURSTS = 40


def deliveries(folder: Path) -> list[Found]:
    """Measures P14: processor time of the server for each message to each live subscriber."""
    found: list[Found] = []
    with ExitStack() as stack:
        platform = stack.enter_context(Child("platform", folder / "live.db"))
        sockets = stack.enter_context(Child("sockets", folder))
        caller = stack.enter_context(Caller(platform.address))
        live = stack.enter_context(Live(platform, caller))
        plain = stack.enter_context(Plain(sockets))
        bare = stack.enter_context(Bare(stack.enter_context(Child("push", folder))))
        for events in (1, 25):
            rounds = interleave(
                {
                    "ours": lambda: live.bursts(events),  # noqa: B023  # runs in this turn
                    "raw": lambda: plain.bursts(live.message_bytes),
                    "bare": lambda: bare.bursts(live.message_bytes),
                }
            )
            setting = (
                f"{SUBSCRIBERS} subscriptions on {CHANNELS} connections, {events} events a message"
                f" of {live.message_bytes} bytes; command and views' part taken off"
            )
            found.append(Line(P14, rounds.over("ours", "raw", cost=True), setting, "/CPU s"))
            bare_cost = rounds.over("ours", "bare", cost=True).median
            name = f"P14 over a bare grpc.aio stream of ready bytes, {events} events a message"
            found.append(Figure(name, bare_cost, "times its CPU"))
    return found


class Live:
    """Two hundred live subscriptions, each read by a task.

    Attributes:
        message_bytes: How large the messages of the last bursts were.
    """

    def __init__(self, platform: Child, caller: Caller) -> None:
        """Subscribes to a platform, which the caller feeds."""
        self._platform = platform
        self._caller = caller
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._tasks: list[asyncio.Task[None]] = []
        self._channels: list[aio.Channel] = []
        self._records = 0
        self._messages = 0
        self._bytes = 0
        self.message_bytes = 0

    def __enter__(self) -> "Live":
        """Subscribes; returns when all are live."""
        self._caller.bulk(openings(), message_commands=500, in_flight=1_000)
        self._runner.run(self._subscribe())
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves."""
        self._runner.run(left(self._tasks, self._channels))
        self._runner.close()

    def bursts(self, events: int) -> Half:
        """Measures bursts of so many events, each waited for by all subscriptions.

        What the same commands cost without subscriptions is measured first, and taken off.
        """
        quiet = self._quiet_seconds(events)
        messages, size, records = self._messages, self._bytes, self._records
        before = self._platform.cpu_seconds()
        for _ in range(BURSTS):
            self._burst(events)
        seconds = self._platform.cpu_seconds() - before - quiet
        delivered = self._messages - messages
        self.message_bytes = (self._bytes - size) // delivered
        # Counted in messages, and none of the records may be missing.
        whole = self._records - records == BURSTS * events * SUBSCRIBERS
        return Half(delivered, seconds, delivered if whole else -1)

    def _burst(self, events: int) -> None:
        wanted = self._records + events * SUBSCRIBERS
        self._caller.bulk(deposits(events), message_commands=events, in_flight=events)
        self._runner.run(self._until(wanted))

    def _quiet_seconds(self, events: int) -> float:
        """Returns what the same bursts cost when nobody subscribes."""
        self._runner.run(left(self._tasks, self._channels))
        before = self._platform.cpu_seconds()
        for _ in range(BURSTS):
            self._caller.bulk(deposits(events), message_commands=events, in_flight=events)
            time.sleep(0.01)
        quiet = self._platform.cpu_seconds() - before
        self._runner.run(self._subscribe())
        return quiet

    async def _subscribe(self) -> None:
        self._channels = [await open_channel(self._platform.address) for _ in range(CHANNELS)]
        ready = asyncio.Semaphore(0)
        request = SubscribeRequest(end=Empty(), heartbeat_interval=Duration(seconds=300))
        self._tasks = [
            asyncio.create_task(self._read(self._channels[number % CHANNELS], request, ready))
            for number in range(SUBSCRIBERS)
        ]
        for _ in range(SUBSCRIBERS):
            await ready.acquire()

    async def _read(
        self, channel: aio.Channel, request: SubscribeRequest, ready: asyncio.Semaphore
    ) -> None:
        known: dict[bytes, int] = {}
        async for message in raw_stream(channel, SUBSCRIBE, request):
            count = known.get(message)
            if count is None:
                known.clear()
                parsed = SubscribeResponse.FromString(message)
                count = known[message] = len(parsed.batch.records)
                if parsed.HasField("caught_up"):
                    ready.release()
            if count:
                self._records += count
                self._messages += 1
                self._bytes += len(message)

    async def _until(self, records: int) -> None:
        await until(lambda: self._records >= records)


class Plain:
    """Two hundred plain connections, each read and thrown away."""

    def __init__(self, server: Child) -> None:
        """Connects to the server of raw sockets."""
        self._server = server
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._transports: list[Any] = []
        self._received = 0

    def __enter__(self) -> "Plain":
        """Opens the connections."""
        self._runner.run(self._connect())
        return self

    def __exit__(self, *_: object) -> None:
        """Closes them."""
        self._runner.run(self._close())
        self._runner.close()

    def bursts(self, size: int) -> Half:
        """Measures as many messages of the same size, each written on its own."""
        return self._runner.run(pushed(self._server, size, lambda: self._received // size))

    async def _connect(self) -> None:
        host, port = self._server.address.split(":")
        loop = asyncio.get_running_loop()
        for _ in range(SUBSCRIBERS):
            transport, _protocol = await loop.create_connection(
                lambda: _Counting(self), host, int(port)
            )
            self._transports.append(transport)
        await asyncio.sleep(0.1)

    async def _close(self) -> None:
        for transport in self._transports:
            transport.close()

    def count(self, size: int) -> None:
        """Notes that bytes have come."""
        self._received += size


class Bare:
    """Two hundred streams of a bare gRPC server, each read and thrown away."""

    def __init__(self, server: Child) -> None:
        """Connects to the server that pushes ready bytes."""
        self._server = server
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._tasks: list[asyncio.Task[None]] = []
        self._channels: list[aio.Channel] = []
        self._received = 0

    def __enter__(self) -> "Bare":
        """Opens the streams."""
        self._runner.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves them."""
        self._runner.run(left(self._tasks, self._channels))
        self._runner.close()

    def bursts(self, size: int) -> Half:
        """Measures as many messages of the same size to each stream."""
        return self._runner.run(pushed(self._server, size, lambda: self._received))

    async def _open(self) -> None:
        self._channels = [await open_channel(self._server.address) for _ in range(CHANNELS)]
        self._tasks = [
            asyncio.create_task(self._read(self._channels[number % CHANNELS]))
            for number in range(SUBSCRIBERS)
        ]
        await asyncio.sleep(0.5)

    async def _read(self, channel: aio.Channel) -> None:
        async for _ in raw_stream(channel, RAW, SubscribeRequest(end=Empty())):
            self._received += 1


async def pushed(server: Child, size: int, received: Callable[[], int]) -> Half:
    """Lets a server push bursts to all who listen; returns what that cost it."""
    before, count = received(), BURSTS * SUBSCRIBERS
    cpu = server.cpu_seconds()
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, server.ask, f"{BURSTS} {size}")
    await until(lambda: received() >= before + count)
    return Half(count, server.cpu_seconds() - cpu, received() - before)


async def left(tasks: Sequence[asyncio.Task[None]], channels: Sequence[aio.Channel]) -> None:
    """Ends those who read, and closes their connections."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for channel in channels:
        await channel.close()
    await asyncio.sleep(0.05)


class _Counting(asyncio.Protocol):
    def __init__(self, plain: Plain) -> None:
        self._plain = plain

    def data_received(self, data: bytes) -> None:
        self._plain.count(len(data))


async def until(come: Callable[[], bool]) -> None:
    """Waits until something has come.

    Raises:
        TimeoutError: It did not within half a minute.
    """
    async with asyncio.timeout(30):
        while not come():  # noqa: ASYNC110  # an event for each message would be measured too
            await asyncio.sleep(0.001)
