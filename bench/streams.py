"""P13: how fast one subscriber catches up, against ready bytes on a bare stream."""

import asyncio
import pickle
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from bench.accounts import ACCOUNTS
from bench.children import Child
from bench.embedded import EmbeddedBank
from bench.goals import P13
from bench.report import Found, Line
from bench.rounds import Half, interleave
from eventspine.v1.subscription_pb2 import SubscribeRequest, SubscribeResponse

SUBSCRIBE = "/eventspine.v1.QueryService/Subscribe"
RAW = "/bench.Raw/Call"
HISTORY_EVENTS = 60_000
BATCH_RECORDS = 100

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


class Reader:
    """One subscriber."""

    def __init__(self, address: str) -> None:
        """Connects to a server."""
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._address = address
        self._channel: aio.Channel

    def __enter__(self) -> "Reader":
        """Opens the channel."""
        self._channel = self._runner.run(open_channel(self._address))
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


def raw_stream(
    channel: aio.Channel, path: str, request: SubscribeRequest
) -> "aio.UnaryStreamCall[Any, bytes]":
    """Begins a call whose messages are left as bytes."""
    call: aio.UnaryStreamMultiCallable[Any, bytes] = channel.unary_stream(path)
    return call(request.SerializeToString())


async def open_channel(address: str) -> aio.Channel:
    """Opens a connection of its own."""
    return aio.insecure_channel(address, options=_OPTIONS)


def _records(message: bytes) -> int:
    return len(SubscribeResponse.FromString(message).batch.records)
