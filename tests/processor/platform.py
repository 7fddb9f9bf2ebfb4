"""A platform without services: what is appended is sequenced and projected."""

import asyncio
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from google.protobuf.message import Message

from bank.v1 import account_pb2 as account
from eventspine.domain.declared import Declarations
from eventspine.rpc.context import CallContext
from eventspine.storage.codec import encode
from eventspine.storage.connect import Backend
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.keys import encode_key
from eventspine.storage.merging import merged
from eventspine.storage.progress import build_id
from eventspine.storage.records import Append, CommandRow, LogEntry, NewRecord, Stored, ViewBatch
from eventspine.storage.tail import LogTail
from eventspine.v1.record_pb2 import EventRecord
from processor_svc.admin import AdminService
from processor_svc.project import Processor
from processor_svc.sequence import Sequencer
from processor_svc.share import LOOK_SECONDS
from tests.processor.views import BALANCE, Poison, declarations

CALL = CallContext(lambda: None, lambda: False)
NOW_US = 1_700_000_000_000_000


def deposit(account_id: str, amount_cents: int) -> Message:
    return account.MoneyDeposited(account_id=account_id, amount_cents=amount_cents)


def record_of(stream: str, version: int, event: Message) -> EventRecord:
    record = EventRecord(
        stream=stream,
        stream_version=version,
        event_id=f"{stream}.{version}",
        type=event.DESCRIPTOR.full_name,
        payload=event.SerializeToString(),
    )
    record.append_time.FromMicroseconds(NOW_US)
    return record


class Platform:
    """One process: a log tail, a sequencer where it is needed, a processor, the operations."""

    def __init__(
        self,
        backend: Backend,
        declared: Declarations | None = None,
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.poison = Poison()
        self._look_seconds = look_seconds
        self.backend = backend
        self.declarations = declared or declarations(self.poison)
        self._build()

    def _build(self) -> None:
        backend = self.backend
        self.tail = LogTail(backend.log, backend.bus)
        self.sequencer = Sequencer(backend.events, backend.log, backend.bus, tail=self.tail)
        self.processor = Processor(
            self.declarations,
            backend,
            self.tail,
            now_us=lambda: NOW_US,
            look_seconds=self._look_seconds,
        )
        self.admin = AdminService(
            backend,
            self.processor,
            self.tail,
            now_us=lambda: NOW_US,
            version="1",
            tenant="default",
        )

    async def start(self) -> None:
        await self.tail.start()
        if not self.backend.sequences_on_append:
            await self.sequencer.start()
        await self.processor.start()

    async def stop(self) -> None:
        await self.processor.stop()
        await self.sequencer.stop()
        await self.tail.stop()

    async def restart(self, declared: Declarations | None = None) -> None:
        """Starts another process on the same store, with other code when that is given."""
        await self.stop()
        self.declarations = declared or self.declarations
        self._build()
        await self.start()

    async def append(self, stream: str, *events: Message) -> None:
        """Stores events and publishes them."""
        head = await self.backend.events.head(stream)
        records: list[NewRecord] = []
        chain = head.chain
        for version, event in enumerate(events, head.version + 1):
            record, chain = encode(record_of(stream, version, event), chain)
            records.append(record)
        last = head.version + len(events)
        command = CommandRow(f"c{last}", b"d" * 32, last, len(events), NOW_US)
        append = Append(stream, head.version, tuple(records), (command,), chain)
        (outcome,) = await self.backend.events.append([append])
        assert isinstance(outcome, Stored)
        await self.publish(stream, records, outcome.first_sequence)

    async def publish(
        self, stream: str, records: Sequence[NewRecord], first_sequence: int | None
    ) -> None:
        """Publishes stored records as the command service does."""
        ends = await self.backend.log.ends()
        if first_sequence is None:
            partition = zlib.crc32(stream.encode()) % len(ends)
            entries = [LogEntry(partition, 0, stream, *record) for record in records]
            await self.backend.bus.publish("events", partition, entries)
            return
        entries = [
            LogEntry(0, sequence, stream, *record)
            for sequence, record in enumerate(records, first_sequence)
        ]
        await self.backend.bus.publish("log", 0, entries)

    async def deposit(self, account_id: str, *amounts: int) -> None:
        """Stores one event for each amount."""
        events = [deposit(account_id, amount) for amount in amounts]
        await self.append(f"account/{account_id}", *events)

    async def projected(self, view: str = BALANCE, number: int = 1, seconds: float = 10) -> None:
        """Waits until a build has passed all that is stored."""
        stored = 0
        after = ""
        while heads := await self.backend.events.heads(after=after):
            stored += sum(head.version for head in heads)
            after = heads[-1].stream

        async def passed() -> bool:
            progress = await self.backend.views.progress(build_id(view, number))
            return sum(progress) >= stored

        await eventually(passed, seconds)

    async def row(self, *key: Any, view: str = BALANCE, number: int = 1) -> Any:
        """Returns a row; None where there is none."""
        partials = await self.backend.views.get(build_id(view, number), encode_key(key))
        return merged(self.declarations.views[view], partials)

    async def balance(self, account_id: str, number: int = 1) -> int | None:
        row = await self.row(account_id, number=number)
        return None if row is None else row.balance_cents

    async def rows(self, view: str = BALANCE, number: int = 1) -> list[Any]:
        """Returns the first 500 rows of a build as they are stored."""
        return [
            (row.key, row.partials)
            for row in await self.backend.views.list(build_id(view, number), limit=500)
        ]

    async def state(self, number: int, state: str, view: str = BALANCE) -> None:
        """Waits until a build is in a state."""

        async def there() -> bool:
            builds = (await self.backend.registry.builds(view)).builds
            return any(one.number == number and one.state == state for one in builds)

        await eventually(there)


async def eventually(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Waits until an async condition holds; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - any condition; no event tells of it
            await asyncio.sleep(0.002)


class FailingViews:
    """A ViewStore that can be out of order; what it stores, it stores in another one."""

    def __init__(self, views: Any) -> None:
        self._views = views
        self.down = False
        self.lose_next_answer = False
        self.defect = ""
        self.refused = 0
        self.defects = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._views, name)

    async def load(self, build: str, partition: int, keys: Sequence[bytes]) -> Any:
        self._check()
        return await self._views.load(build, partition, keys)

    async def save(self, batches: Sequence[ViewBatch]) -> None:
        self._check()
        if any(batch.build_id == self.defect for batch in batches):
            self.defects += 1
            raise RuntimeError("a defect")
        await self._views.save(batches)
        if self.lose_next_answer:
            self.lose_next_answer = False
            raise StoreUnavailableError("the answer was lost", cause="test")

    def _check(self) -> None:
        if self.down:
            self.refused += 1
            raise StoreUnavailableError("the store is down", cause="test")


def with_failing_views(backend: Backend) -> tuple[Backend, FailingViews]:
    """Puts a store that can fail in front of the views of a backend."""
    views = FailingViews(backend.views)
    return replace(backend, views=views), views
