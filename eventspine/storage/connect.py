"""Opens a backend; promise: every port that the services need, over one store."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from eventspine.domain.declared import ViewDeclaration
from eventspine.storage.bus import LocalBus
from eventspine.storage.identity import StoreIdentity
from eventspine.storage.memory.events import MemoryEventStore, memory_identity
from eventspine.storage.memory.hints import MemoryAuditStore, MemoryHintStore
from eventspine.storage.memory.log import MemoryEventLog
from eventspine.storage.memory.registry import MemoryViewRegistry
from eventspine.storage.memory.snapshots import MemorySnapshotStore
from eventspine.storage.memory.views import MemoryViewStore
from eventspine.storage.ports import (
    AuditStore,
    Bus,
    EventLog,
    EventStore,
    HintStore,
    SnapshotStore,
    ViewRegistry,
    ViewStore,
)
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.events import SqliteEventStore
from eventspine.storage.sqlite.log import SqliteEventLog
from eventspine.storage.sqlite.registry import SqliteViewRegistry
from eventspine.storage.sqlite.snapshots import SqliteSnapshotStore
from eventspine.storage.sqlite.views import SqliteViewStore
from eventspine.storage.stack import StackSettings


async def _nothing() -> None:
    """Closes what needs no closing."""


async def _always() -> bool:
    """Nobody else can replace the store."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The ports of one open store.

    Attributes:
        sequences_on_append: Whether the event store itself fills the log. Where it does not, a
            sequencer has to run.
        audits: How far the auditor has come. None where the store sequences as it appends: its
            auditor only verifies, and keeps its mark in memory.
        hints: What repair needs. None where the store sequences as it appends: nothing can be lost
            between the two.
        is_current: Tells whether the store that is there is still the one that was opened; not
            after a restore in its place. A store that cannot be asked is.
        closing: Closes the store.
    """

    events: EventStore
    snapshots: SnapshotStore
    log: EventLog
    views: ViewStore
    registry: ViewRegistry
    bus: Bus
    identity: StoreIdentity
    sequences_on_append: bool
    audits: AuditStore | None = None
    hints: HintStore | None = None
    is_current: Callable[[], Awaitable[bool]] = _always
    closing: Callable[[], Awaitable[None]] = _nothing

    async def close(self) -> None:
        """Closes the store, after all that was asked of it is done. Again is harmless."""
        await self.closing()


def open_memory(*, partitions: int = 1) -> Backend:
    """Opens a new store in memory, which is gone when the process ends."""
    views = MemoryViewStore(partitions)
    return Backend(
        events=MemoryEventStore(),
        snapshots=MemorySnapshotStore(),
        log=MemoryEventLog(partitions),
        views=views,
        registry=MemoryViewRegistry(views),
        bus=LocalBus(partitions=partitions),
        identity=memory_identity(),
        sequences_on_append=False,
        audits=MemoryAuditStore(),
        hints=MemoryHintStore(),
    )


async def open_sqlite(path: Path) -> Backend:
    """Opens a store file, or makes a new one.

    Raises:
        OwnedError: Another process, or this one, has the file open. Nothing was opened.
        StoreFormatError: The path cannot hold a store, or the file is something else.
    """
    db = SqliteDatabase.open(path)
    return Backend(
        events=SqliteEventStore(db),
        snapshots=SqliteSnapshotStore(db),
        log=SqliteEventLog(db),
        views=SqliteViewStore(db),
        registry=SqliteViewRegistry(db),
        bus=LocalBus(),
        identity=db.identity,
        sequences_on_append=True,
        closing=db.close,
    )


async def open_stack(
    settings: StackSettings, views: Iterable[ViewDeclaration], now_us: Callable[[], int]
) -> Backend:
    """Opens a keyspace of Cassandra and its topics of Kafka, making what is missing of them.

    Args:
        settings: Where they are, and whether what is missing may be made.
        views: The declared views, each of which has a table of its own.
        now_us: The clock of this process: microseconds since 1970 UTC.

    Raises:
        StackSetupError: Cassandra cannot be reached, the keyspace is not as it is set up, or this
            clock and Cassandra's are far apart.
        BusSetupError: Kafka cannot be reached, or a topic is not as it has to be.
        StoreUnavailableError: Cassandra cannot answer at the moment.
    """
    # The drivers take a second to import, which only those pay who use them.
    from eventspine.storage.cassandra.clock import check_clock
    from eventspine.storage.cassandra.events import CassandraEventStore
    from eventspine.storage.cassandra.hints import CassandraAuditStore, CassandraHintStore
    from eventspine.storage.cassandra.log import CassandraEventLog
    from eventspine.storage.cassandra.positions import CassandraPositions
    from eventspine.storage.cassandra.registry import CassandraViewRegistry
    from eventspine.storage.cassandra.snapshots import CassandraSnapshotStore
    from eventspine.storage.cassandra.store import CassandraStore
    from eventspine.storage.cassandra.view_schema import prepare_view_tables
    from eventspine.storage.cassandra.view_tables import tables_of
    from eventspine.storage.cassandra.views import CassandraViewStore
    from eventspine.storage.kafka.bus import KafkaBus
    from eventspine.storage.kafka.settings import bus_settings

    tables = tables_of(views)
    async with AsyncExitStack() as opened:
        store = await CassandraStore.open(settings)
        opened.push_async_callback(store.close)
        await check_clock(store.session, now_us)
        await prepare_view_tables(store.session, tables.values(), create=settings.create_schema)
        bus = await KafkaBus.open(bus_settings(settings, store.partitions))
        opened.push_async_callback(bus.close)
        positions = CassandraPositions(store)
        opened.push_async_callback(positions.close)
        view_store = CassandraViewStore(store, tables)
        opened.push_async_callback(view_store.close)
        return Backend(
            events=CassandraEventStore(store),
            snapshots=CassandraSnapshotStore(store),
            log=CassandraEventLog(store, positions),
            views=view_store,
            registry=CassandraViewRegistry(store),
            bus=bus,
            identity=store.identity,
            sequences_on_append=False,
            audits=CassandraAuditStore(store),
            hints=CassandraHintStore(store),
            is_current=store.is_current,
            closing=opened.pop_all().aclose,
        )
