"""P8, P9 and P11: streams and the log read back, against the same rows read without us."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.accounts import ACCOUNTS, account_id
from bench.embedded import EmbeddedBank
from bench.goals import P8, P9, P11
from bench.peer import Peer
from bench.report import Figure, Found, Line
from bench.rounds import Half, interleave
from command_svc.command import categories
from command_svc.load import Loader
from domains.bank.balances import BALANCES
from domains.bank.domain import BANK
from domains.bank.statement import STATEMENT
from domains.bank.totals import TOTALS
from eventspine.domain.declare import declare
from eventspine.domain.fold import new_row
from eventspine.domain.view import View, ViewEvent
from eventspine.process.composition import system_now_us
from eventspine.storage.bus import LocalBus
from eventspine.storage.memory.registry import MemoryViewRegistry
from eventspine.storage.memory.views import MemoryViewStore
from eventspine.storage.ports import ViewRegistry, ViewStore
from eventspine.storage.tail import LogTail
from eventspine.v1.record_pb2 import EventRecord
from processor_svc.rebuild import HISTORY
from processor_svc.rows import BuildRows
from processor_svc.turn import Projector, Stride

STREAM_EVENTS = 100
STREAMS = 100
EVENTS_A_KEY = 20
PAGE = 500

_MEMORY = Stride(read_entries_max=2_000, entries_max=10**9, rows_max=10**9)
_READ_STREAM = """SELECT stream_version, type, encoded FROM events
    WHERE stream = ? AND stream_version > ? ORDER BY stream_version LIMIT ?"""
_READ_LOG = """SELECT sequence, stream, stream_version, type, encoded FROM events
    WHERE sequence > ? ORDER BY sequence LIMIT ?"""
_READ_ENCODED = "SELECT encoded FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"


def cold_loads(folder: Path) -> list[Found]:
    """Measures P8: streams that are not in memory are loaded, one after the other."""
    path = folder / "cold.db"
    with EmbeddedBank(path, in_flight=1_000, follow=False, accounts=STREAMS) as bank:
        bank.execute(STREAMS * (STREAM_EVENTS - 1))
        loader = Loader(bank.backend.events, bank.backend.snapshots)
        category = categories(declare([BANK]))["account"]
        streams = [f"account/{account_id(number)}" for number in range(STREAMS)]

        async def load() -> int:
            loaded = [await loader.load(stream, category) for stream in streams]
            return sum(state.head.version == STREAM_EVENTS for state in loaded)

        def raw() -> int:
            reads = (
                connection.execute(_READ_STREAM, (name, 0, 200)).fetchall() for name in streams
            )
            return sum(len(rows) == STREAM_EVENTS for rows in reads)

        with closing(sqlite3.connect(path)) as connection:
            rounds = interleave(
                {
                    "ours": lambda: _timed(STREAMS, lambda: bank.run(load())),
                    "raw": lambda: _timed(STREAMS, raw),
                },
                rounds=9,
            )
    setting = f"{STREAMS} streams, one at a time, folded to a state"
    return [Line(P8, rounds.over("ours", "raw", cost=True), setting)]


def folds(folder: Path) -> list[Found]:
    """Measures P9: the log folded in memory, against reading and parsing it."""
    with _history(folder / "fold.db") as bank:
        end = bank.run(bank.backend.log.ends())[0]

        def ours(*views: View[Any]) -> Callable[[], Half]:
            store = MemoryViewStore(1)
            return lambda: _folded(bank, store, MemoryViewRegistry(store), views, _MEMORY)

        with closing(sqlite3.connect(folder / "fold.db")) as connection:
            rounds = interleave(
                {
                    "one": ours(BALANCES),
                    "raw": lambda: _timed(end, lambda: _read_log(connection, end)),
                    "all": ours(BALANCES, STATEMENT, TOTALS),
                    "needed": lambda: _timed(end, lambda: _needed_fold(connection)),
                },
                rounds=7,
            )
    setting = f"{end} events of 1,000 accounts; D5 without Kafka: SQLite pages of {PAGE}"
    bound = rounds.over("needed", "raw").median
    return [
        Line(P9, rounds.over("one", "raw"), f"{setting}; one view"),
        Line(P9, rounds.over("all", "raw"), f"{setting}; three views at once, one of them 1:1"),
        Figure("P9, one view folded in a bare loop", bound, "times raw", setting),
    ]


def rebuilds(folder: Path) -> list[Found]:
    """Measures P11: a view built anew in the file, against the peer's saving and following."""
    with _history(folder / "rebuild.db") as bank, Peer(folder / "peer-follow") as peer:
        views, registry = bank.backend.views, bank.backend.registry
        threads = peer.best_threads()
        rounds = interleave(
            {
                "ours": lambda: _folded(bank, views, registry, (BALANCES,), HISTORY),
                "all": lambda: _folded(
                    bank, views, registry, (BALANCES, STATEMENT, TOTALS), HISTORY
                ),
                "peer": lambda: peer.save_and_follow(800, threads=threads),
            }
        )
    setting = f"{EVENTS_A_KEY} events a key, view rows in the file"
    return [
        Line(P11, rounds.over("ours", "peer"), f"{setting}; one view; peer saves in {threads}"),
        Line(P11, rounds.over("all", "peer"), f"{setting}; three views at once, one of them 1:1"),
    ]


def _history(path: Path) -> EmbeddedBank:
    return _Filled(path, in_flight=1_000, follow=False)


class _Filled(EmbeddedBank):
    """A bank with a history."""

    def __enter__(self) -> EmbeddedBank:
        super().__enter__()
        self.execute(ACCOUNTS * (EVENTS_A_KEY - 1))
        return self


def _timed(operations: int, work: Callable[[], int]) -> Half:
    began = time.perf_counter()
    done = work()
    return Half(operations, time.perf_counter() - began, done)


def _read_log(connection: sqlite3.Connection, end: int) -> int:
    """Reads pages of the log, parses the records and looks at three fields."""
    after = count = 0
    parse = EventRecord.FromString
    while rows := connection.execute(_READ_LOG, (after, PAGE)).fetchall():
        for row in rows:
            record = parse(row[4])
            if record.stream and record.stream_version and record.payload and row[0] <= end:
                count += 1
        after = rows[-1][0]
    return count


def _needed_fold(connection: sqlite3.Connection) -> int:
    """Folds the whole log into one view with the least that it takes; returns the events.

    Each record and each event is parsed and given to the view's two functions. Rows are changed in
    place, nothing is checked, parked or saved, and no turn is given to anybody else.
    """
    after = 0
    rows: dict[Any, Any] = {}
    parse = EventRecord.FromString
    foldings = {
        event.DESCRIPTOR.full_name: (event.FromString, folding)
        for event, folding in BALANCES.foldings.items()
    }
    while page := connection.execute(_READ_ENCODED, (after, PAGE)).fetchall():
        for (encoded,) in page:
            record = parse(encoded)
            parse_event, folding = foldings[record.type]
            event = ViewEvent(parse_event(record.payload), record)
            for key in folding.keys(event):
                row = rows.get(key)
                rows[key] = folding.apply(new_row(BALANCES.row, key) if row is None else row, event)
        after += len(page)
    return sum(row.balance_cents // 100 + 1 for row in rows.values())


def _folded(
    bank: EmbeddedBank,
    store: ViewStore,
    registry: ViewRegistry,
    views: tuple[View[Any], ...],
    stride: Stride,
) -> Half:
    """Folds the whole log into new builds of views."""
    names = [f"{view.row.DESCRIPTOR.full_name}@{time.perf_counter_ns()}" for view in views]

    async def fold() -> tuple[int, float]:
        bus = LocalBus()
        tail = LogTail(bank.backend.log, bus)
        await tail.start()
        builds = [
            BuildRows(name, 0, view, now_us=system_now_us)
            for name, view in zip(names, views, strict=True)
        ]
        projector = Projector(0, tail, store, registry, bus)
        began = time.perf_counter()
        while builds[0].reached < tail.end(0):
            await projector.turn(builds, stride)
        seconds = time.perf_counter() - began
        await tail.stop()
        return tail.end(0), seconds

    async def count() -> int:
        rows = await store.list(names[0], limit=10**6)
        parsed = [views[0].row.FromString(row.partials[0].encoded or b"") for row in rows]
        for name in names:
            await store.drop(name)
        return sum(row.balance_cents // 100 + 1 for row in parsed)

    events, seconds = bank.run(fold())
    return Half(events, seconds, bank.run(count()))
