"""Opens a backend; promise: every port that the services need, over one store."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from eventspine.storage.bus import LocalBus
from eventspine.storage.memory.events import MemoryEventStore, memory_identity
from eventspine.storage.memory.log import MemoryEventLog
from eventspine.storage.memory.registry import MemoryViewRegistry
from eventspine.storage.memory.snapshots import MemorySnapshotStore
from eventspine.storage.memory.views import MemoryViewStore
from eventspine.storage.ports import (
    Bus,
    EventLog,
    EventStore,
    Identity,
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


async def _nothing() -> None:
    """Closes what needs no closing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The ports of one open store.

    Attributes:
        sequences_on_append: Whether the event store itself fills the log. Where it does not, a
            sequencer has to run.
        closing: Closes the store.
    """

    events: EventStore
    snapshots: SnapshotStore
    log: EventLog
    views: ViewStore
    registry: ViewRegistry
    bus: Bus
    identity: Identity
    sequences_on_append: bool
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
