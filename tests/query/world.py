"""A store with a hand that writes events and rows, and the query service on top of it."""

import asyncio
import itertools
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from bank.v1 import account_pb2 as bank
from domains.bank.domain import BANK
from eventspine.domain.declare import declare
from eventspine.domain.view import Key
from eventspine.rpc.context import CallContext
from eventspine.rpc.method import Method
from eventspine.storage.codec import encode
from eventspine.storage.connect import Backend
from eventspine.storage.follow import Follower
from eventspine.storage.keys import encode_key
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.storage.records import (
    Append,
    Build,
    BuildsChange,
    CommandRow,
    LogEntry,
    PartialRow,
    ProgressChange,
    RowChange,
    Stored,
    ViewBatch,
)
from eventspine.storage.tail import LogTail
from eventspine.v1.record_pb2 import EventRecord
from eventspine.v1.subscription_pb2 import SubscribeRequest, SubscribeResponse
from query_svc.serve import QueryService
from query_svc.settings import QuerySettings

START_US = 1_700_000_000_000_000
SECOND_US = 1_000_000
DECLARATIONS = declare([BANK])
BALANCES = "bank.v1.AccountBalance"
WAIT_SECONDS = 10.0

CONTEXT = CallContext(time_remaining=lambda: None, cancelled=lambda: False)


class World:
    """A backend, the query service, and what a command service and a processor would do."""

    def __init__(
        self, backend: Backend, partitions: int, settings: QuerySettings | None = None
    ) -> None:
        self.backend = backend
        self.partitions = partitions
        self.now = START_US
        self.tail = LogTail(backend.log, backend.bus)
        self.progress = ProgressBoard(backend.views, backend.bus)
        self.serving = ServingBuilds(backend.registry, backend.bus)
        self.service = QueryService(
            DECLARATIONS,
            backend,
            self.tail,
            self.progress,
            self.serving,
            now_us=lambda: self.now,
            settings=settings or QuerySettings(),
        )
        self.written: list[LogEntry] = []
        self._ids = itertools.count()

    async def start(self) -> None:
        await self.tail.start()
        await self.progress.start()
        await self.serving.start()
        await self.service.start()

    async def stop(self) -> None:
        await self.service.stop()
        await self.serving.stop()
        await self.progress.stop()
        await self.tail.stop()
        await self.backend.close()

    def method(self, name: str) -> Method:
        return next(m for m in self.service.methods() if m.name == name)

    async def write(
        self, stream: str, *events: Message, at: int | None = None, published: bool = True
    ) -> list[LogEntry]:
        """Stores events, puts them into the log, and tells the bus."""
        head = await self.backend.events.head(stream)
        chain, records = head.chain, []
        for version, event in enumerate(events, head.version + 1):
            record = EventRecord(
                stream=stream,
                stream_version=version,
                event_id=f"e{next(self._ids)}",
                type=event.DESCRIPTOR.full_name,
                command_id="c",
                correlation_id="c",
                append_time=_timestamp(self.now if at is None else at),
                tenant="default",
                schema_fingerprint=b"12345678",
                payload=event.SerializeToString(),
            )
            new, chain = encode(record, chain)
            records.append(new)
        last = head.version + len(events)
        row = CommandRow(f"c{next(self._ids)}", bytes(32), last, len(events), self.now)
        append = Append(stream, head.version, tuple(records), (row,), chain)
        outcome = (await self.backend.events.append([append]))[0]
        assert isinstance(outcome, Stored)
        return await self._sequence(stream, records, outcome, published)

    async def _sequence(
        self, stream: str, records: Sequence[Any], outcome: Stored, published: bool
    ) -> list[LogEntry]:
        partition = zlib.crc32(stream.encode()) % self.partitions
        log = self.backend.log
        after = (await log.ends())[partition]
        if outcome.first_sequence is not None:
            after = outcome.first_sequence - 1
        entries = [
            LogEntry(partition, after + place, stream, *record)
            for place, record in enumerate(records, 1)
        ]
        if outcome.first_sequence is None:
            await log.extend(partition, after, entries)
        if published:
            await self.backend.bus.publish("log", partition, entries)
        self.written += entries
        return entries

    async def deposit(self, account: str, count: int = 1, **where: Any) -> list[LogEntry]:
        event = bank.MoneyDeposited(account_id=account, amount_cents=1)
        return await self.write(f"account/{account}", *[event] * count, **where)

    async def settled(self) -> None:
        """Waits until the tail shows everything that was written."""
        for partition, end in enumerate(await self.backend.log.ends()):
            assert await self.tail.wait(partition, end - 1, WAIT_SECONDS)

    async def follow_changes(self) -> None:
        """Returns when everything that was published on `changes` so far has been taken."""
        async with asyncio.timeout(WAIT_SECONDS):
            seen = asyncio.Event()

            async def take(batch: Sequence[Any]) -> None:
                seen.set()

            follower = Follower(self.backend.bus, "changes", take)
            follower.start()
            await self.backend.bus.publish("changes", 0, [BuildsChange("nothing")])
            await seen.wait()
            await follower.stop()

    async def serve(self, view: str, *builds: Build) -> None:
        known = await self.backend.registry.builds(view)
        given = builds or (Build(1, 1, "serving", False),)
        assert await self.backend.registry.put(view, known.revision, given)
        await self.backend.bus.publish("changes", 0, [BuildsChange(view)])

    async def project(
        self,
        rows: dict[Key, Message | None],
        through: int,
        *,
        partition: int = 0,
        build_id: str = f"{BALANCES}@1",
        tell: bool = True,
    ) -> list[RowChange]:
        """Saves rows as a processor does, and tells of them."""
        after = (*(await self.backend.views.progress(build_id)), 0, 0, 0)[partition]
        partials = {
            encode_key(key): PartialRow(
                partition, through, None if row is None else row.SerializeToString()
            )
            for key, row in rows.items()
        }
        batch = ViewBatch(build_id, partition, after, through, partials, {})
        await self.backend.views.save([batch])
        changes = [RowChange(build_id, partition, key, row) for key, row in partials.items()]
        if tell:
            told = [*changes, ProgressChange(build_id, partition, through)]
            await self.backend.bus.publish("changes", partition, told)
        return changes

    def subscribe(self, request: SubscribeRequest) -> "Reader":
        handler = self.method("Subscribe").server_stream
        assert handler is not None
        return Reader(handler(request, CONTEXT), SubscribeResponse)

    def stream(self, name: str, request: Any, response: type[Any]) -> "Reader":
        handler = self.method(name).server_stream
        assert handler is not None
        return Reader(handler(request, CONTEXT), response)

    async def ask(self, name: str, request: Any, response: type[Any]) -> Any:
        handler = self.method(name).unary
        assert handler is not None
        return parsed(await handler(request, CONTEXT), response)


class Reader:
    """Takes replies one by one, parsed, each within a limit of time."""

    def __init__(self, replies: AsyncIterator[Any], response: type[Any]) -> None:
        self._replies = replies
        self._response = response

    async def next(self) -> Any:
        async with asyncio.timeout(WAIT_SECONDS):
            return parsed(await anext(self._replies), self._response)

    async def raw(self) -> Any:
        async with asyncio.timeout(WAIT_SECONDS):
            return await anext(self._replies)

    async def until(self, done: Callable[[Any], bool]) -> list[Any]:
        """Returns the replies up to the first one that is what was waited for."""
        replies = [await self.next()]
        while not done(replies[-1]):
            replies.append(await self.next())
        return replies

    async def all(self) -> list[Any]:
        async with asyncio.timeout(WAIT_SECONDS):
            return [parsed(reply, self._response) async for reply in self._replies]

    async def close(self) -> None:
        await self._replies.aclose()

    async def __aenter__(self) -> "Reader":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def parsed(reply: Any, response: type[Any]) -> Any:
    return response.FromString(reply) if isinstance(reply, bytes) else reply


def kind(message: SubscribeResponse) -> str:
    return message.WhichOneof("message")


def cursor_of(message: SubscribeResponse) -> str:
    return getattr(message, kind(message)).cursor


def records_of(messages: Sequence[SubscribeResponse]) -> list[tuple[str, int]]:
    """Returns stream and version of every record, in the order sent."""
    return [
        (record.stream, record.stream_version)
        for message in messages
        if kind(message) == "batch"
        for record in message.batch.records
    ]


def in_order(entries: Sequence[LogEntry]) -> list[tuple[str, int]]:
    return [(entry.stream, entry.stream_version) for entry in entries]


def _timestamp(moment_us: int) -> Timestamp:
    return Timestamp(seconds=moment_us // SECOND_US, nanos=moment_us % SECOND_US * 1_000)
