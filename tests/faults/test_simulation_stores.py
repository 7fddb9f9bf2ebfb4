"""The stores and the bus of the simulation, without faults, are what the ports promise."""

import pytest

from eventspine.storage.memory.events import MemoryEventStore
from eventspine.storage.memory.hints import MemoryAuditStore, MemoryHintStore
from eventspine.storage.memory.registry import MemoryViewRegistry
from eventspine.storage.memory.snapshots import MemorySnapshotStore
from eventspine.storage.memory.views import MemoryViewStore
from tests.faults.simulation.broker import Broker, FarBus
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
from tests.storage.bus_suite import BusSuite
from tests.storage.event_log_suite import EventLogSuite
from tests.storage.event_store_suite import EventStoreSuite, ScanOrderSuite
from tests.storage.hint_store_suite import AuditStoreSuite, HintStoreSuite
from tests.storage.snapshot_store_suite import SnapshotStoreSuite
from tests.storage.view_registry_suite import Opened, ViewRegistrySuite
from tests.storage.view_store_suite import ViewStoreSuite


@pytest.fixture
def line() -> Line:
    return Line("tested", Faults(0, quiet=True))


class TestFarEventStore(EventStoreSuite, ScanOrderSuite):
    @pytest.fixture
    def store(self, line: Line) -> FarEventStore:
        return FarEventStore(MemoryEventStore(), line)


class TestFarEventLog(EventLogSuite):
    @pytest.fixture
    def log(self, line: Line) -> FarEventLog:
        return FarEventLog(SharedLog(1), line)


class TestFarSnapshotStore(SnapshotStoreSuite):
    @pytest.fixture
    def snapshots(self, line: Line) -> FarSnapshotStore:
        return FarSnapshotStore(MemorySnapshotStore(), line)


class TestFarHintStore(HintStoreSuite):
    @pytest.fixture
    def hints(self, line: Line) -> FarHintStore:
        return FarHintStore(MemoryHintStore(), line)


class TestFarAuditStore(AuditStoreSuite):
    @pytest.fixture
    def audits(self, line: Line) -> FarAuditStore:
        return FarAuditStore(MemoryAuditStore(), line)


class TestFarViewStore(ViewStoreSuite):
    @pytest.fixture
    def views(self, line: Line) -> FarViewStore:
        return FarViewStore(MemoryViewStore(), line)


class TestFarViewRegistry(ViewRegistrySuite):
    @pytest.fixture
    def opened(self, line: Line) -> Opened:
        views = MemoryViewStore()
        return Opened(FarViewStore(views, line), FarViewRegistry(MemoryViewRegistry(views), line))


class TestFarBus(BusSuite):
    @pytest.fixture
    def bus(self, line: Line) -> FarBus:
        return FarBus(Broker(2, line.faults), line)
