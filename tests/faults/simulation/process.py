"""The services' own code, put together as processes that die and come again over one store."""

import asyncio
import contextvars
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from command_svc.serve import CommandService
from command_svc.settings import CommandSettings
from domains.bank.domain import BANK
from eventspine.domain.declare import declare
from eventspine.rpc.context import CallContext
from eventspine.storage.connect import Backend
from eventspine.storage.identity import StoreIdentity
from eventspine.storage.memory.events import MemoryEventStore
from eventspine.storage.memory.hints import MemoryAuditStore, MemoryHintStore
from eventspine.storage.memory.registry import MemoryViewRegistry
from eventspine.storage.memory.snapshots import MemorySnapshotStore
from eventspine.storage.memory.views import MemoryViewStore
from eventspine.storage.ports import EventLog, EventStore, ViewStore
from eventspine.storage.progress import ProgressBoard, ServingBuilds
from eventspine.storage.tail import LogTail
from processor_svc.auditor import Auditor
from processor_svc.positions import Bounds
from processor_svc.project import Processor
from processor_svc.sequence import Sequencer
from processor_svc.settings import ProcessorSettings
from query_svc.serve import QueryService
from query_svc.settings import QuerySettings
from tests.faults.simulation.broker import Broker, FarBus
from tests.faults.simulation.clock import OWNER
from tests.faults.simulation.faults import Faults
from tests.faults.simulation.line import Line
from tests.faults.simulation.log import FarEventLog, SharedLog
from tests.faults.simulation.stores import (
    FarAuditStore,
    FarEventStore,
    FarHintStore,
    FarSnapshotStore,
    FarViewRegistry,
    FarViewStore,
)

DECLARATIONS = declare([BANK])
PARTITIONS = 2
START_US = 1_700_000_000_000_000

COMMANDS = CommandSettings(
    snapshot_events=4,
    cached_streams_max=2,
    recent_commands_max=4,
    unknown_wait_seconds=4.0,
    hint_window_seconds=6.0,
    beat_seconds=2.0,
    dead_seconds=6.0,
    late_seconds=12.0,
)
AUDITS = ProcessorSettings(
    audit_streams_per_second=0,
    audit_pause_seconds=12.0,
    audit_recheck_seconds=3.0,
    audit_confirm_seconds=6.0,
    audit_chains=2,
)
BOUNDS = Bounds(streams_max=2, late_seconds=60.0, history_entries_max=0)
POLL_SECONDS = 4.0
LOOK_SECONDS = 6.0


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """How processes are put together; a wrong rule is another wiring.

    Attributes:
        events: Makes what the command services append to out of what is right.
        log: Makes what is sequenced into.
        views: Makes what is projected into.
        offsets_early: Whether what the bus hands over counts as done at once.
        audits: Whether there is an auditor.
    """

    events: Callable[[EventStore], EventStore] = lambda store: store
    log: Callable[[FarEventLog], EventLog] = lambda log: log
    views: Callable[[ViewStore], ViewStore] = lambda views: views
    offsets_early: bool = False
    audits: bool = True


@dataclass
class Servers:
    """The stores and the bus, which outlive the processes."""

    faults: Faults
    wiring: Wiring
    events: MemoryEventStore = field(default_factory=MemoryEventStore)
    snapshots: MemorySnapshotStore = field(default_factory=MemorySnapshotStore)
    hints: MemoryHintStore = field(default_factory=MemoryHintStore)
    audits: MemoryAuditStore = field(default_factory=MemoryAuditStore)
    log: SharedLog = field(default_factory=lambda: SharedLog(PARTITIONS))
    views: MemoryViewStore = field(default_factory=lambda: MemoryViewStore(PARTITIONS))

    def __post_init__(self) -> None:
        self.registry = MemoryViewRegistry(self.views)
        self.broker = Broker(PARTITIONS, self.faults, offsets_early=self.wiring.offsets_early)

    def reached_by(self, line: Line) -> Backend:
        """Returns the backend of one process."""
        return Backend(
            events=self.wiring.events(FarEventStore(self.events, line)),
            snapshots=FarSnapshotStore(self.snapshots, line),
            log=self.wiring.log(FarEventLog(self.log, line)),
            views=self.wiring.views(FarViewStore(self.views, line)),
            registry=FarViewRegistry(self.registry, line),
            bus=FarBus(self.broker, line),
            identity=StoreIdentity(
                backend="memory", location="", durability="", store_id="0" * 32, ancestors={}
            ),
            sequences_on_append=False,
            audits=FarAuditStore(self.audits, line),
            hints=FarHintStore(self.hints, line),
        )


class Process(ABC):
    """A process: its line, and the parts that run in it."""

    def __init__(self, name: str, servers: Servers, now_us: Callable[[], int]) -> None:
        """Puts it together; its clock is `now_us`."""
        self.line = Line(name, servers.faults)
        self.now_us = now_us
        self.backend = servers.reached_by(self.line)
        self._context = contextvars.copy_context()
        self._context.run(OWNER.set, self.line.tasks)
        self.parts: list[Any] = []
        self._context.run(self.compose, servers)

    @abstractmethod
    def compose(self, servers: Servers) -> None:
        """Puts the parts together."""

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs something in the process; it ends when the process dies."""
        return asyncio.get_running_loop().create_task(work, context=self._context)

    async def start(self) -> None:
        """Starts the parts."""
        for part in self.parts:
            await part.start()


class CommandProcess(Process):
    """A command service."""

    def compose(self, servers: Servers) -> None:
        backend = self.backend
        progress = ProgressBoard(backend.views, backend.bus)
        serving = ServingBuilds(backend.registry, backend.bus)
        service = CommandService(
            DECLARATIONS,
            backend,
            now_us=self.now_us,
            progress=progress,
            serving=serving,
            settings=COMMANDS,
        )
        self.unary: dict[type[Any], Any] = {
            m.request: m.unary for m in service.methods() if m.unary
        }
        self.parts = [service]

    async def call(self, request: Any) -> Any:
        """Answers a request, or raises why not."""
        return (await self.unary[type(request)](request, context())).result


class ProcessorProcess(Process):
    """A processor with sequencer and auditor."""

    def compose(self, servers: Servers) -> None:
        backend = self.backend
        tail = LogTail(backend.log, backend.bus, poll_seconds=POLL_SECONDS)
        sequencer = Sequencer(backend.events, backend.log, backend.bus, tail=tail, bounds=BOUNDS)
        processor = Processor(
            DECLARATIONS, backend, tail, now_us=self.now_us, look_seconds=LOOK_SECONDS
        )
        self.parts = [tail, sequencer, processor]
        if servers.wiring.audits:
            chance = random.Random(servers.faults.chance.random())
            auditor = Auditor(backend, now_us=self.now_us, settings=AUDITS, chance=chance)
            self.parts.append(auditor)


class QueryProcess(Process):
    """A query service."""

    def compose(self, servers: Servers) -> None:
        backend = self.backend
        tail = LogTail(backend.log, backend.bus, poll_seconds=POLL_SECONDS)
        progress = ProgressBoard(backend.views, backend.bus)
        serving = ServingBuilds(backend.registry, backend.bus)
        service = QueryService(
            DECLARATIONS,
            backend,
            tail,
            progress,
            serving,
            now_us=self.now_us,
            settings=QuerySettings(checkpoint_seconds=5.0),
        )
        (self._subscribe,) = (m.server_stream for m in service.methods() if m.name == "Subscribe")
        self.parts = [tail, progress, serving, service]

    def subscribe(self, request: Any) -> AsyncIterator[Any]:
        """Subscribes, without a transport."""
        assert self._subscribe is not None
        replies: AsyncIterator[Any] = self._subscribe(request, context())
        return replies


def context() -> CallContext:
    """A call that waits for as long as it takes."""
    return CallContext(lambda: None, lambda: False)
