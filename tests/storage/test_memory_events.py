"""The memory backend against the suites of EventStore, EventLog and SnapshotStore."""

import pytest

from eventspine.storage.memory.events import MemoryEventStore
from eventspine.storage.memory.log import MemoryEventLog
from eventspine.storage.memory.snapshots import MemorySnapshotStore
from eventspine.storage.records import Stored
from tests.storage.appends import append_of, entries_of
from tests.storage.event_log_suite import EventLogSuite
from tests.storage.event_store_suite import EventStoreSuite, ScanOrderSuite
from tests.storage.snapshot_store_suite import SnapshotStoreSuite


class TestMemoryEventStore(EventStoreSuite, ScanOrderSuite):
    @pytest.fixture
    def store(self) -> MemoryEventStore:
        return MemoryEventStore()

    async def test_it_leaves_sequencing_to_the_sequencer(self, store: MemoryEventStore) -> None:
        assert await store.append([append_of("account/1", 0, "c1")]) == [Stored(None)]


class TestMemoryEventLog(EventLogSuite):
    @pytest.fixture
    def log(self) -> MemoryEventLog:
        return MemoryEventLog()


class TestMemorySnapshotStore(SnapshotStoreSuite):
    @pytest.fixture
    def snapshots(self) -> MemorySnapshotStore:
        return MemorySnapshotStore()


async def test_each_partition_of_a_log_has_its_own_sequences() -> None:
    log = MemoryEventLog(partitions=3)
    entries = entries_of([append_of("a/1", 0, "c", events=2)], partition=2)
    await log.extend(2, 0, entries)
    assert await log.ends() == (0, 0, 2)
    assert await log.read(2) == entries
    assert await log.read(0) == []
