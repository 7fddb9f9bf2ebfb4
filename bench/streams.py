"""P13 and P14: what a subscription costs, against ready bytes on a bare stream and on sockets."""

import asyncio
import pickle
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from bench.accounts import ACCOUNTS, deposits, openings
from bench.calls import Caller
from bench.children import Child
from bench.embedded import EmbeddedBank
from bench.goals import P13, P14
from bench.report import Found, Line
from bench.rounds import Half, interleave
from eventspine.v1.subscription_pb2 import SubscribeRequest, SubscribeResponse

SUBSCRIBE = "/eventspine.v1.QueryService/Subscribe"
RAW = "/bench.Raw/Call"
HISTORY_EVENTS = 60_000
BATCH_RECORDS = 100
SUBSCRIBERS = 200
CHANNELS = 4
BURSTS = 40

_OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
)


def catch_up(folder: Path) -> list[Found]:
    """Measures P13: one subscriber reads the log from its beginning."""
    path, ready = folder / "history.db", folder / "ready.pickle"
    with EmbeddedBank(path, in_flight=1_000, follow=False) as bank:
        bank.execute(HISTORY_EVENTS - ACCOUNTS)
    request = SubscribeRequest(beginning=Empty(), batch_records_max=BATCH_RECORDS)
    with ExitStack() as stack:
        platform = stack.enter_context(Child("platform", path))
        ours = stack.enter_context(Reader(platform.address))
        # The first reading also says how many messages there are.
        messages = ours.read(SUBSCRIBE, request, records=HISTORY_EVENTS)
        ready.write_bytes(pickle.dumps(messages))
        bare = stack.enter_context(Child("stream", ready))
        raw = stack.enter_context(Reader(bare.address))
        rounds = interleave(
            {
                "ours": lambda: ours.timed(SUBSCRIBE, request, len(messages)),
                "raw": lambda: raw.timed(RAW, request, len(messages)),
            },
            rounds=7,
        )
    size = sum(map(len, messages)) // HISTORY_EVENTS
    setting = f"{HISTORY_EVENTS} events of {size} bytes from the file, {BATCH_RECORDS} a message"
    return [Line(P13, rounds.over("ours", "raw"), setting)]


def deliveries(folder: Path) -> list[Found]:
    """Measures P14: processor time of the server for each message to each live subscriber."""
    found: list[Found] = []
    with ExitStack() as stack:
        platform = stack.enter_context(Child("platform", folder / "live.db"))
        sockets = stack.enter_context(Child("sockets", folder))
        caller = stack.enter_context(Caller(platform.address))
        live = stack.enter_context(Live(platform, caller))
        plain = stack.enter_context(Plain(sockets))
        for events in (1, 25):
            rounds = interleave(
                {
                    "ours": lambda: live.bursts(events),  # noqa: B023  # runs in this turn
                    "raw": lambda: plain.bursts(live.message_bytes),
                }
            )
            setting = (
                f"{SUBSCRIBERS} subscriptions on {CHANNELS} connections, {events} events a message"
                f" of {live.message_bytes} bytes; command and views' part taken off"
            )
            found.append(Line(P14, rounds.over("ours", "raw", cost=True), setting, "/CPU s"))
    return found


class Reader:
    """One subscriber."""

    def __init__(self, address: str) -> None:
        """Connects to a server."""
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._address = address
        self._channel: aio.Channel

    def __enter__(self) -> "Reader":
        """Opens the channel."""
        self._channel = self._runner.run(_channel(self._address))
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self._runner.run(self._channel.close())
        self._runner.close()

    def read(self, path: str, request: SubscribeRequest, *, records: int) -> list[bytes]:
        """Reads messages until so many records have come."""
        return self._runner.run(self._read(path, request, records))

    def timed(self, path: str, request: SubscribeRequest, count: int) -> Half:
        """Measures reading so many messages; counts their records afterwards."""
        began = time.perf_counter()
        messages = self._runner.run(self._take(path, request, count))
        seconds = time.perf_counter() - began
        return Half(HISTORY_EVENTS, seconds, sum(map(_records, messages)))

    async def _read(self, path: str, request: SubscribeRequest, records: int) -> list[bytes]:
        messages: list[bytes] = []
        call = raw_stream(self._channel, path, request)
        async for message in call:
            messages.append(message)
            records -= _records(message)
            if records <= 0:
                break
        call.cancel()
        return messages

    async def _take(self, path: str, request: SubscribeRequest, count: int) -> list[bytes]:
        messages: list[bytes] = []
        call = raw_stream(self._channel, path, request)
        async for message in call:
            messages.append(message)
            if len(messages) == count:
                break
        call.cancel()
        return messages


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
        self._runner.run(self._leave())
        self._runner.close()

    def bursts(self, events: int) -> Half:
        """Measures bursts of so many events, each waited for by all subscriptions.

        The same number of commands without subscriptions is measured by `quiet_seconds` once.
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
        self._runner.run(self._leave())
        before = self._platform.cpu_seconds()
        for _ in range(BURSTS):
            self._caller.bulk(deposits(events), message_commands=events, in_flight=events)
            time.sleep(0.01)
        quiet = self._platform.cpu_seconds() - before
        self._runner.run(self._subscribe())
        return quiet

    async def _subscribe(self) -> None:
        self._channels = [await _channel(self._platform.address) for _ in range(CHANNELS)]
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

    async def _leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close()
        await asyncio.sleep(0.05)


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
        received = self._received
        before = self._server.cpu_seconds()
        self._runner.run(self._ask(f"{BURSTS} {size}"))
        seconds = self._server.cpu_seconds() - before
        count = BURSTS * SUBSCRIBERS
        self._runner.run(self._until(received + count * size))
        return Half(count, seconds, (self._received - received) // size)

    async def _ask(self, line: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._server.ask, line)

    async def _until(self, received: int) -> None:
        await until(lambda: self._received >= received)

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


def raw_stream(
    channel: aio.Channel, path: str, request: SubscribeRequest
) -> "aio.UnaryStreamCall[Any, bytes]":
    """Begins a call whose messages are left as bytes."""
    call: aio.UnaryStreamMultiCallable[Any, bytes] = channel.unary_stream(path)
    return call(request.SerializeToString())


async def _channel(address: str) -> aio.Channel:
    return aio.insecure_channel(address, options=_OPTIONS)


def _records(message: bytes) -> int:
    return len(SubscribeResponse.FromString(message).batch.records)
