"""P5 and P7: what an append costs the client's processor, and how often our own appends collide."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.cluster import Cluster, Session
from cassandra.query import BatchStatement

from bank.v1.account_pb2 import DepositRequest, OpenAccountRequest
from bench.commands import RECORD_BYTES
from bench.report import Found, Line
from bench.rounds import Half, Measured, interleave
from bench.stack.goals import P5, P7
from bench.stack.ground import KEYSPACE, Ground
from command_svc.serve import CommandService
from command_svc.settings import CommandSettings
from domains.bank.domain import BANK
from eventspine.domain.declare import declare
from eventspine.process.composition import system_now_us
from eventspine.process.loop import loop_factory
from eventspine.storage.cassandra.events import CassandraEventStore
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.connect import Backend, open_stack
from eventspine.storage.ports import EventStore
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.storage.records import Append, CommandRow, Conflict, NewRecord, Outcome

APPENDS = 2_000
IN_FLIGHT = 100
HOT_ACCOUNTS = 8
HOT_COMMANDS = 2_000

_RECORD = bytes(RECORD_BYTES)
_CHAIN = bytes(32)
_numbers = itertools.count(time.time_ns())


def client_cost(ground: Ground) -> list[Found]:
    """Measures P5: the same appends by our store and by the driver as it comes."""
    driver = _Driver(ground)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        store = runner.run(CassandraStore.open(ground.settings))
        events = CassandraEventStore(store)
        halves: dict[str, Callable[[], Half]] = {
            "ours": lambda: _cpu(lambda: runner.run(_appended(events))),
            "driver": lambda: _cpu(driver.append),
        }
        for warm in halves.values():
            warm()
        rounds = interleave(halves)
        runner.run(store.close())
    driver.close()
    setting = f"{IN_FLIGHT} in flight, one event of {RECORD_BYTES} bytes and its command row"
    return [Line(P5, rounds.over("ours", "driver", cost=True), setting, unit="/s of CPU")]


def collisions(ground: Ground) -> list[Found]:
    """Measures P7: a few streams, to which one process sends many commands at a time."""

    async def run() -> tuple[int, int]:
        declarations = declare([BANK])
        backend = await open_stack(
            ground.settings_beside(), declarations.views.values(), system_now_us
        )
        counted = _Counted(backend.events)
        try:
            await _hot(replace(backend, events=counted))
        finally:
            await backend.close()
        return counted.appends, counted.conflicts

    appends, conflicts = asyncio.run(run())
    share = conflicts / appends
    setting = f"{HOT_COMMANDS} commands to {HOT_ACCOUNTS} streams, {appends} appends"
    measured = Measured((share,), (float(conflicts),), (float(appends),), noisy=False)
    return [Line(P7, measured, setting, unit="")]


class _Counted:
    """An event store that counts what becomes of appends; all else is the store's own."""

    def __init__(self, events: EventStore) -> None:
        self.appends = 0
        self.conflicts = 0
        self._events = events
        self.read = events.read
        self.head = events.head
        self.heads = events.heads
        self.command = events.command
        self.commands = events.commands

    async def append(self, appends: Sequence[Append]) -> list[Outcome]:
        outcomes = await self._events.append(appends)
        self.appends += len(outcomes)
        self.conflicts += sum(isinstance(outcome, Conflict) for outcome in outcomes)
        return outcomes


async def _hot(backend: Backend) -> None:
    service = CommandService(
        declare([BANK]),
        backend,
        now_us=system_now_us,
        progress=ProgressBoard(backend.views, backend.bus),
        serving=ServingBuilds(backend.registry, backend.bus),
        settings=CommandSettings(tenant="bench", bulk_commands_max=HOT_COMMANDS),
    )
    await service.start()
    try:
        for requests in (_openings(), _deposits()):
            for verdict in await service.execute(requests):
                if isinstance(verdict.outcome, Exception):
                    raise verdict.outcome
    finally:
        await service.stop()


def _openings() -> list[Any]:
    requests: list[Any] = [
        OpenAccountRequest(account_id=f"hot-{number}", owner="Ann")
        for number in range(HOT_ACCOUNTS)
    ]
    return _identified(requests)


def _deposits() -> list[Any]:
    requests: list[Any] = [
        DepositRequest(account_id=f"hot-{number % HOT_ACCOUNTS}", amount_cents=1)
        for number in range(HOT_COMMANDS)
    ]
    return _identified(requests)


def _identified(requests: list[Any]) -> list[Any]:
    for request in requests:
        request.header.command_id = f"c-{next(_numbers)}"
    return requests


def _cpu(work: Callable[[], int]) -> Half:
    """Runs appends; the seconds are those of the processor, all threads of this process."""
    began = time.process_time()
    stored = work()
    return Half(APPENDS, time.process_time() - began, stored)


async def _appended(events: CassandraEventStore) -> int:
    waiting = iter([_append(next(_numbers)) for _ in range(APPENDS)])

    async def writer() -> int:
        stored = 0
        for append in waiting:
            (outcome,) = await events.append([append])
            stored += not isinstance(outcome, Conflict)
        return stored

    return sum(await asyncio.gather(*(writer() for _ in range(IN_FLIGHT))))


def _append(number: int) -> Append:
    record = NewRecord(1, "bank.v1.MoneyDeposited", _RECORD)
    command = CommandRow(f"c-{number}", _CHAIN, 1, 1, number // 1000)
    return Append(f"cost/{number}", 0, (record,), (command,), _CHAIN)


class _Driver:
    """The driver with its defaults: the same batch, prepared, sent by `execute_async`."""

    def __init__(self, ground: Ground) -> None:
        host, _, port = ground.settings.contact_points[0].rpartition(":")
        self._cluster = Cluster([host], port=int(port))
        self._session: Session = self._cluster.connect()
        events = f"{KEYSPACE}.raw_events"
        texts = (
            f"UPDATE {events} SET head = 1, chain = ? WHERE tenant = 'raw' AND stream = ?"
            " AND bucket = 0 IF head = null",
            f"INSERT INTO {events} (tenant, stream, bucket, kind, version, command_id, digest,"
            " last_version, event_count, append_time_us) VALUES ('raw', ?, 0, 0, 0, ?, ?, 1, 1, ?)"
            " IF NOT EXISTS",
            f"INSERT INTO {events} (tenant, stream, bucket, kind, version, command_id, type,"
            " encoded) VALUES ('raw', ?, 0, 1, 1, '', ?, ?)",
        )
        self._statements = [self._session.prepare(text) for text in texts]

    def append(self) -> int:
        """Stores as many events as ours, so many at a time."""
        numbers = [next(_numbers) for _ in range(APPENDS)]
        done: Future[int] = Future()
        waiting, answers = iter(numbers), [0, 0]

        def answered(rows: Iterable[Any]) -> None:
            answers[0] += 1
            answers[1] += bool(next(iter(rows))[0])
            if answers[0] == APPENDS:
                done.set_result(answers[1])
            else:
                send()

        def send() -> None:
            number = next(waiting, None)
            if number is not None:
                future = self._session.execute_async(self._batch(number))
                future.add_callbacks(answered, done.set_exception)

        for _ in range(IN_FLIGHT):
            send()
        return done.result(120)

    def _batch(self, number: int) -> BatchStatement:
        stream = f"cost/{number}"
        batch = BatchStatement(
            consistency_level=ConsistencyLevel.QUORUM,
            serial_consistency_level=ConsistencyLevel.SERIAL,
        )
        move, command, event = self._statements
        batch.add(move, (_CHAIN, stream))
        batch.add(command, (stream, f"c-{number}", _CHAIN, number // 1000))
        batch.add(event, (stream, "bank.v1.MoneyDeposited", _RECORD))
        return batch

    def close(self) -> None:
        """Ends the session."""
        self._cluster.shutdown()
