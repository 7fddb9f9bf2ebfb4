"""P10 and P11: rows of views written, and a view built anew, against rows inserted alone."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

from bank.v1.account_pb2 import MoneyDeposited
from bench.report import Found, Line
from bench.rounds import Half, interleave
from bench.stack.goals import P10, P11
from bench.stack.ground import Ground
from domains.bank.balances import BALANCES
from domains.bank.domain import BANK
from eventspine.domain.declare import declare
from eventspine.process.composition import system_now_us
from eventspine.process.loop import loop_factory
from eventspine.storage.bus import LocalBus
from eventspine.storage.codec import encode
from eventspine.storage.connect import Backend, open_stack
from eventspine.storage.keys import encode_key
from eventspine.storage.records import GENESIS, LogEntry, PartialRow, ViewBatch
from eventspine.storage.tail import LogTail
from eventspine.v1.record_pb2 import EventRecord
from processor_svc.rebuild import HISTORY
from processor_svc.rows import BuildRows
from processor_svc.turn import Projector

ROWS = 10_000
BATCH_ROWS = 1_000
IN_FLIGHT = 100
KEYS = 1_000
EVENTS_A_KEY = 20
EXTEND_ENTRIES = 500
VIEW = "bank.v1.AccountBalance"

_builds = itertools.count(1)


def written_and_rebuilt(ground: Ground) -> list[Found]:
    """Measures P10 and P11 on one history."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        views = declare([BANK]).views.values()
        backend = runner.run(open_stack(ground.settings_beside(), views, system_now_us))
        events = runner.run(_fill(backend))
        rounds = interleave(
            {
                "rows": lambda: _timed(runner, ROWS, lambda: _rows(backend)),
                "rebuild": lambda: _timed(runner, events, lambda: _rebuild(backend)),
                "raw": lambda: ground.raw.rows(ROWS, IN_FLIGHT),
            }
        )
        runner.run(backend.close())
    partitions = f"{ground.nodes} node(s), 16 partitions of the log"
    history = f"{events} events, {EVENTS_A_KEY} a key"
    return [
        Line(P10, rounds.over("rows", "raw"), f"{partitions}, saves of {BATCH_ROWS} new rows"),
        Line(P11, rounds.over("rebuild", "raw"), f"{partitions}, {history}, one view"),
    ]


def _timed(runner: asyncio.Runner, operations: int, work: Callable[[], Awaitable[int]]) -> Half:
    async def run() -> int:
        return await work()

    began = time.perf_counter()
    done = runner.run(run())
    return Half(operations, time.perf_counter() - began, done)


async def _rows(backend: Backend) -> int:
    """Saves new rows of a new build; returns how many a list shows."""
    build = f"{VIEW}@{next(_builds) + time.time_ns() // 10**6 % 10**6 * 1000}"
    encoded = bytes(60)
    for first in range(0, ROWS, BATCH_ROWS):
        numbers = range(first, first + BATCH_ROWS)
        rows = {
            encode_key((f"account-{number:06}",)): PartialRow(0, number + 1, encoded)
            for number in numbers
        }
        await backend.views.save([ViewBatch(build, 0, first, first + BATCH_ROWS, rows, {})])
    return (await backend.views.progress(build))[0]


async def _fill(backend: Backend) -> int:
    """Puts a history into the log, spread over its partitions; returns how many events."""
    ends = await backend.log.ends()
    accounts = [f"account-{number:05}" for number in range(KEYS)]

    async def fill(partition: int) -> int:
        entries: list[LogEntry] = []
        for account in accounts[partition :: len(ends)]:
            entries += _deposits(partition, len(entries), account)
        for first in range(0, len(entries), EXTEND_ENTRIES):
            await backend.log.extend(partition, first, entries[first : first + EXTEND_ENTRIES])
        return len(entries)

    return sum(await asyncio.gather(*(fill(partition) for partition in range(len(ends)))))


def _deposits(partition: int, before: int, account: str) -> list[LogEntry]:
    entries: list[LogEntry] = []
    chain = GENESIS
    payload = MoneyDeposited(account_id=account, amount_cents=100).SerializeToString()
    for version in range(1, EVENTS_A_KEY + 1):
        record = EventRecord(
            stream=f"account/{account}",
            stream_version=version,
            type="bank.v1.MoneyDeposited",
            command_id=f"deposit-{version}",
            payload=payload,
        )
        new, chain = encode(record, chain)
        place = before + version
        entries.append(LogEntry(partition, place, record.stream, version, new.type, new.encoded))
    return entries


async def _rebuild(backend: Backend) -> int:
    """Folds the whole log into a new build, all partitions at once; returns how many events."""
    build = f"{VIEW}@{next(_builds) + time.time_ns() // 10**6 % 10**6 * 1000}"
    bus = LocalBus()
    tail = LogTail(backend.log, bus)
    await tail.start()

    async def fold(partition: int) -> int:
        rows = BuildRows(build, partition, BALANCES, now_us=system_now_us)
        projector = Projector(partition, tail, backend.views, backend.registry, bus)
        while rows.reached < tail.end(partition):
            await projector.turn([rows], HISTORY)
        return rows.progress

    done = await asyncio.gather(*(fold(partition) for partition in range(tail.partitions)))
    await tail.stop()
    return sum(done)
