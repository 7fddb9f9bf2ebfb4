"""One run from one seed: processes, clients and faults; then quiet; then the checker.

Promise: the same seed gives the same trace, and what the checker finds is a broken promise.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from bank.v1 import views_pb2 as views
from eventspine.storage.records import LogEntry
from eventspine.storage.republish import partition_of
from tests.faults.checker import Entry, Evidence, broken_promises
from tests.faults.folding import Rows, folded
from tests.faults.simulation.clients import Client, History, Resume, Subscriber, by_cursor
from tests.faults.simulation.clock import RunawayError, run_virtually
from tests.faults.simulation.faults import EVERY, Fault, Faults
from tests.faults.simulation.process import (
    PARTITIONS,
    START_US,
    CommandProcess,
    Process,
    ProcessorProcess,
    QueryProcess,
    Servers,
    Wiring,
)

CLIENTS = 3
COMMANDS_EACH = 5
STORMY_SECONDS = 30.0
LATE_SECONDS = 12.0
SETTLE_SECONDS_MAX = 150.0

SKEWS_US = (0, 0, 2_000_000, -3_000_000, 3_600_000_000)
"""By how much the clocks of processes are wrong."""

_Kind = TypeVar("_Kind", bound=Process)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is simulated.

    Attributes:
        kinds: The kinds of fault that may strike.
        wiring: How processes are put together.
        resume: How the subscriber goes on.
    """

    kinds: Collection[str] = EVERY
    wiring: Wiring = field(default_factory=Wiring)
    resume: Resume = by_cursor


class Result(NamedTuple):
    """What came of a run."""

    broken: list[str]
    struck: list[Fault]
    trace: list[str]


class _Slot(Generic[_Kind]):
    """A place where one process after the other runs."""

    def __init__(self, kind: type[_Kind], name: str, servers: Servers, skew_us: int) -> None:
        self._kind = kind
        self._name = name
        self._servers = servers
        self._skew_us = skew_us
        self.living: _Kind | None = None

    async def run(self) -> None:
        """Starts a process again and again, some seconds after each death."""
        faults, count = self._servers.faults, 0
        while True:
            count += 1
            dead = asyncio.Event()
            process = self._kind(f"{self._name}.{count}", self._servers, self._now_us)
            process.line.leaving.append(dead.set)
            started = process.spawn(process.start())
            await asyncio.wait([started])
            if started.cancelled() or started.exception() is not None:
                process.line.die()
            else:
                self.living = process
            await dead.wait()
            self.living = None
            await asyncio.sleep(faults.between(0.5, 4.0))

    def _now_us(self) -> int:
        return START_US + self._skew_us + int(asyncio.get_running_loop().time() * 1e6)


class World:
    """All of one run."""

    def __init__(self, seed: int, setting: Setting, left_out: Collection[Fault]) -> None:
        """Puts it together; nothing runs."""
        self._seed = seed
        self.faults = Faults(seed, kinds=setting.kinds, left_out=left_out)
        self.servers = Servers(self.faults, setting.wiring)
        self.history = History(self.faults)
        self.commands = self._slots(CommandProcess, "command")
        self.processors = self._slots(ProcessorProcess, "processor")
        self.queries = self._slots(QueryProcess, "query")[:1]
        self._subscriber = Subscriber(self.history, lambda: _living(self.queries), setting.resume)

    async def run(self) -> list[str]:
        """Runs to the end; returns what was broken."""
        loop = asyncio.get_running_loop()
        slots = [*self.commands, *self.processors, *self.queries]
        background = [loop.create_task(slot.run()) for slot in slots]
        background.append(loop.create_task(self._subscriber.run()))
        clients = [
            Client(number, self._seed, self.history, lambda: _living(self.commands))
            for number in range(CLIENTS)
        ]
        working = [loop.create_task(client.run(COMMANDS_EACH)) for client in clients]
        await asyncio.wait(working, timeout=STORMY_SECONDS)
        self.faults.quiet = True
        self.faults.tell("the storm is over")
        _, hanging = await asyncio.wait(working, timeout=SETTLE_SECONDS_MAX)
        if hanging:
            return [f"{len(hanging)} clients wait for ever"]
        for task in working:
            task.result()
        await asyncio.sleep(LATE_SECONDS)
        until = loop.time() + SETTLE_SECONDS_MAX
        broken = await self._broken()
        while broken and loop.time() < until:
            await asyncio.sleep(5.0)
            broken = await self._broken()
        self.faults.tell("settled" if not broken else "did not settle")
        for task in background:
            task.cancel()
            if task.done():
                task.result()
        return broken

    async def _broken(self) -> list[str]:
        """Asks the checker; each partition has a log of its own."""
        history = self.history
        rows, broken, whole = await self._rows(), [*history.unexpected], list[Entry]()
        for partition in range(PARTITIONS):
            entries = await self.servers.log.log.read(partition, limit=100_000)
            log = [_entry(entry) for entry in entries]
            whole += log
            broken += broken_promises(
                Evidence(
                    self._mine(partition, history.sent),
                    self._mine(partition, history.answered),
                    self._mine(partition, history.refused),
                    log,
                    [seen for where, seen in history.transcript if where == partition],
                    {},
                    {},
                )
            )
        broken += await self._log_against_store(whole)
        broken += broken_promises(Evidence((), (), (), (), (), folded(whole), rows))
        return broken

    def _mine(self, partition: int, told: list[Any]) -> list[Any]:
        return [one for one in told if partition_of(one.stream, PARTITIONS) == partition]

    async def _log_against_store(self, log: list[Entry]) -> list[str]:
        broken = []
        for stream in sorted({*self.servers.events._records, *(entry.stream for entry in log)}):
            stored = await self.servers.events.read(stream, limit=100_000)
            logged = [entry[2:5] for entry in log if entry.stream == stream]
            if [tuple(record) for record in stored] != logged:
                versions = [entry[0] for entry in logged]
                broken.append(f"{stream} is stored to {len(stored)}; the log has {versions}")
        return broken

    async def _rows(self) -> Rows:
        """Returns all rows of the builds that serve, read by code that is not the platform's."""
        rows: Rows = {}
        for message in (views.AccountBalance, views.StatementLine, views.BankTotals):
            name = message.DESCRIPTOR.full_name
            for build in (await self.servers.registry.builds(name)).builds:
                found = await self.servers.views.list(f"{name}@{build.number}", limit=100_000)
                for keyed in found:
                    partials = [message.FromString(p.encoded or b"") for p in keyed.partials]
                    rows.update(_shown(name, partials))
        return rows

    def _slots(self, kind: type[_Kind], name: str) -> list[_Slot[_Kind]]:
        return [
            _Slot(kind, f"{name} {number}", self.servers, self.faults.chance.choice(SKEWS_US))
            for number in (1, 2)
        ]


def _living(slots: list[_Slot[_Kind]]) -> list[_Kind]:
    return [slot.living for slot in slots if slot.living is not None]


def _entry(entry: LogEntry) -> Entry:
    return Entry(*entry[1:6])


def _shown(view: str, partials: list[Any]) -> Iterator[tuple[tuple[str, str], object]]:
    row = partials[0]
    if view.endswith("AccountBalance"):
        yield ("balance", row.account_id), row.balance_cents
    elif view.endswith("StatementLine"):
        yield ("statement", f"{row.account_id} {row.stream_version}"), row.change_cents
    else:
        fields = "open_accounts", "balance_cents", "deposited_cents", "withdrawn_cents"
        yield ("totals", "bank"), tuple(sum(getattr(p, f) for p in partials) for f in fields)


def simulate(seed: int, setting: Setting, left_out: Collection[Fault] = ()) -> Result:
    """Runs one seed, without the given faults."""
    logging.disable(logging.CRITICAL)
    try:
        world = World(seed, setting, left_out)
        try:
            broken = run_virtually(world.run())
        except RunawayError as error:
            broken = [f"it does not come to rest: {error}"]
        return Result(broken, world.faults.struck, world.faults.trace)
    finally:
        logging.disable(logging.NOTSET)


def shrunk(seed: int, setting: Setting, found: Result) -> Result:
    """Leaves out one fault after the other, as long as something is still broken."""
    left_out: set[Fault] = set()
    for fault in found.struck:
        attempt = simulate(seed, setting, left_out | {fault})
        if attempt.broken:
            left_out.add(fault)
            found = attempt
    return found


def report(seed: int, result: Result) -> str:
    """Tells a failure so that it can be looked into."""
    return "\n".join(
        [f"seed {seed} breaks promises:", *result.broken[:10], "the trace:", *result.trace]
    )
