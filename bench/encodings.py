"""P22: how often an event's record is encoded and parsed on its way through the platform."""

import asyncio
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from bench.accounts import deposits, openings
from bench.goals import P22_ENCODED, P22_PARSED
from bench.report import Found, Line
from bench.rounds import Measured
from bench.streams import SUBSCRIBE, raw_stream
from devstack.embedded import Embedded
from domains.bank.domain import BANK
from eventspine.v1.record_pb2 import EventRecord
from eventspine.v1.subscription_pb2 import SubscribeRequest, SubscribeResponse

ACCOUNTS = 50
EVENTS = 500

_ENCODING = {"SerializeToString", "SerializePartialToString", "ByteSize"}
_PARSING = {"FromString", "ParseFromString", "MergeFromString"}


class Counts:
    """Counts calls of protobuf's own functions on records, by what they do."""

    def __init__(self) -> None:
        """Begins at nothing; nothing is counted before `started` is set."""
        self.counter: Counter[str] = Counter()
        self.started = False

    def __call__(self, frame: FrameType, kind: str, function: Any) -> None:
        """Is called by Python's profiler hook."""
        if kind != "c_call" or not self.started:
            return
        name = getattr(function, "__name__", "")
        if name in _ENCODING or name in _PARSING:
            owner = getattr(function, "__self__", None)
            if owner is EventRecord or isinstance(owner, EventRecord):
                self.counter["encoded" if name in _ENCODING else "parsed"] += 1


def encodings(folder: Path) -> list[Found]:
    """Counts over a small run: commands, the file, three views, a raw subscription."""
    counts = Counts()
    threading.setprofile(counts)
    sys.setprofile(counts)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            received = runner.run(_run(folder / "encodings.db", counts))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    setting = f"{received} events by bulk into 3 views and to a subscription, in one process"
    return [
        Line(goal, _certain(counts.counter[name], received), setting, " times")
        for goal, name in ((P22_ENCODED, "encoded"), (P22_PARSED, "parsed"))
    ]


async def _run(path: Path, counts: Counts) -> int:
    async with Embedded([BANK], db=path) as platform:
        command, log = platform.parts.command, platform.parts.backend.log
        await command.execute(openings(ACCOUNTS))
        async with aio.insecure_channel(platform.address) as channel:
            (before,) = await log.ends()
            messages = raw_stream(channel, SUBSCRIBE, SubscribeRequest(end=Empty()))
            async for message in messages:
                if SubscribeResponse.FromString(message).HasField("caught_up"):
                    break
            await _folded(platform, before)
            counts.started = True
            await command.execute(deposits(EVENTS, ACCOUNTS))
            missing = EVENTS
            async for message in messages:
                missing -= _records(message)
                if not missing:
                    break
            await _folded(platform, before + EVENTS)
            counts.started = False
            messages.cancel()
            (end,) = await log.ends()
            return end - before


async def _folded(platform: Embedded, end: int) -> None:
    for view in platform.parts.declarations.views:
        await platform.parts.progress.passed(f"{view}@1", 0, end, 60.0)


def _records(message: bytes) -> int:
    return len(SubscribeResponse.FromString(message).batch.records)


def _certain(count: int, events: int) -> Measured:
    """Returns a count as a ratio: it is the same in each round."""
    return Measured((count / events,), (count,), (events,), False)
