"""What the processor's suites share: a platform without services, on every backend."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eventspine.storage.bus import LocalBus
from eventspine.storage.cassandra.events import CassandraEventStore
from eventspine.storage.cassandra.log import CassandraEventLog
from eventspine.storage.cassandra.positions import CassandraPositions
from eventspine.storage.cassandra.registry import CassandraViewRegistry
from eventspine.storage.cassandra.snapshots import CassandraSnapshotStore
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.cassandra.view_schema import prepare_view_tables
from eventspine.storage.cassandra.view_tables import tables_of
from eventspine.storage.cassandra.views import CassandraViewStore
from eventspine.storage.connect import Backend, open_memory, open_sqlite
from eventspine.storage.stack import StackSettings
from tests.processor.platform import Platform
from tests.processor.views import Poison, declarations
from tests.storage.cassandra_keyspace import as_new_tenant, new_keyspace

Making = Callable[..., Awaitable[Platform]]

TABLES = tables_of(declarations(Poison()).views.values())


async def _make(settings: StackSettings) -> None:
    store = await CassandraStore.open(settings)
    await prepare_view_tables(store.session, TABLES.values(), create=True)
    await store.close()


@pytest.fixture(scope="session")
def keyspace(cassandra: str) -> Iterator[StackSettings]:
    """A keyspace with the tables of the suites' views."""
    with new_keyspace(cassandra, partitions=1) as settings:
        asyncio.run(_make(settings))
        yield settings


@asynccontextmanager
async def open_cassandra(settings: StackSettings, bus: LocalBus) -> AsyncIterator[Backend]:
    """Opens what one process has of a keyspace, with a bus that it may share with others."""
    store = await CassandraStore.open(settings)
    positions = CassandraPositions(store)
    yield Backend(
        events=CassandraEventStore(store),
        snapshots=CassandraSnapshotStore(store),
        log=CassandraEventLog(store, positions),
        views=CassandraViewStore(store, TABLES),
        registry=CassandraViewRegistry(store),
        bus=bus,
        identity=store.identity,
        sequences_on_append=False,
    )
    await positions.close()
    await store.close()


@pytest.fixture(params=["memory", "sqlite", pytest.param("cassandra", marks=pytest.mark.stack)])
def kind(request: pytest.FixtureRequest) -> str | StackSettings:
    """The kind of backend; for Cassandra, the settings of a store in which nothing is yet."""
    if request.param != "cassandra":
        return str(request.param)
    return as_new_tenant(request.getfixturevalue("keyspace"))


@pytest.fixture
async def backend(kind: str | StackSettings, tmp_path: Path) -> AsyncIterator[Backend]:
    """An open backend of each kind."""
    if isinstance(kind, StackSettings):
        async with open_cassandra(kind, LocalBus()) as opened:
            yield opened
        return
    opened = open_memory() if kind == "memory" else await open_sqlite(tmp_path / "s.db")
    yield opened
    await opened.close()


@pytest.fixture
async def platform(backend: Backend) -> AsyncIterator[Platform]:
    """A running platform with the views of `tests/processor/views.py`."""
    running = Platform(backend)
    await running.start()
    yield running
    await running.stop()
