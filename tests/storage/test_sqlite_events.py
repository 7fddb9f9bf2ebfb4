"""The SQLite backend against the suites of EventStore, EventLog and SnapshotStore."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventspine.storage.errors import DeclinedError
from eventspine.storage.records import Stored
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.events import SqliteEventStore
from eventspine.storage.sqlite.log import SqliteEventLog
from eventspine.storage.sqlite.snapshots import SqliteSnapshotStore
from tests.storage.appends import append_of, entries_of, stored
from tests.storage.event_log_suite import EventLogSuite
from tests.storage.event_store_suite import EventStoreSuite, ScanOrderSuite
from tests.storage.snapshot_store_suite import SnapshotStoreSuite


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    db = SqliteDatabase.open(tmp_path / "store.db")
    yield db
    await db.close()


class TestSqliteEventStore(EventStoreSuite, ScanOrderSuite):
    @pytest.fixture
    def store(self, db: SqliteDatabase) -> SqliteEventStore:
        return SqliteEventStore(db)

    async def test_it_sequences_as_it_appends(self, store: SqliteEventStore) -> None:
        appends = [append_of("a/1", 0, "c", events=3), append_of("b/1", 0, "c")]
        assert await store.append(appends) == [Stored(1), Stored(4)]
        assert await store.append([append_of("b/1", 1, "d")]) == [Stored(5)]


class TestSqliteEventLog(EventLogSuite):
    @pytest.fixture
    def log(self, db: SqliteDatabase) -> SqliteEventLog:
        self.store = SqliteEventStore(db)
        return SqliteEventLog(db)

    async def fill(self, log: SqliteEventLog, streams: list[str]) -> None:
        await stored(self.store, self.appends(streams))

    async def test_entries_that_do_not_follow_the_end_are_refused_and_change_nothing(
        self, log: SqliteEventLog
    ) -> None:
        """Declined exception: the event store's append is the only way into this log."""
        with pytest.raises(DeclinedError, match="append fills it"):
            await log.extend(0, 0, entries_of(self.appends(["a/1"])))
        assert await log.ends() == (0,)

    async def test_taking_over_tells_the_end(self, log: SqliteEventLog) -> None:
        """Declined exception: nobody extends this log from outside."""
        with pytest.raises(DeclinedError, match="append fills it"):
            await log.take_over(0)

    async def test_a_partition_that_does_not_exist_is_refused(self, log: SqliteEventLog) -> None:
        with pytest.raises(IndexError, match="partition 0 only"):
            await log.read(1)
        with pytest.raises(IndexError, match="partition 0 only"):
            await log.read_encoded(1)


class TestSqliteSnapshotStore(SnapshotStoreSuite):
    @pytest.fixture
    def snapshots(self, db: SqliteDatabase) -> SqliteSnapshotStore:
        return SqliteSnapshotStore(db)
