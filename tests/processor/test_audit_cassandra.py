"""The auditor over events and log in Cassandra, whose positions are written late."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from eventspine.storage.cassandra.events import CassandraEventStore
from eventspine.storage.cassandra.hints import CassandraAuditStore, CassandraHintStore
from eventspine.storage.cassandra.log import CassandraEventLog
from eventspine.storage.cassandra.positions import CassandraPositions
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.connect import Backend, open_memory
from eventspine.storage.stack import StackSettings
from processor_svc.settings import ProcessorSettings
from tests.faults.lossy_bus import LossyBus
from tests.processor.platform import Platform
from tests.processor.test_audit import auditor_of, logged
from tests.storage.cassandra_keyspace import as_new_tenant, new_keyspace

PARTITIONS = 2
SETTINGS = ProcessorSettings(audit_recheck_seconds=3.0, audit_confirm_seconds=60)


@pytest.fixture(scope="module")
def keyspace(cassandra: str) -> Iterator[StackSettings]:
    with new_keyspace(cassandra, partitions=PARTITIONS, events_per_bucket=4) as settings:
        yield settings


@pytest.fixture
async def store(keyspace: StackSettings) -> AsyncIterator[CassandraStore]:
    opened = await CassandraStore.open(as_new_tenant(keyspace))
    yield opened
    await opened.close()


def backend_of(store: CassandraStore, bus: LossyBus) -> tuple[Backend, CassandraPositions]:
    """Returns a process's backend; its positions have to be closed."""
    positions = CassandraPositions(store)
    backend = replace(
        open_memory(partitions=PARTITIONS),
        events=CassandraEventStore(store),
        log=CassandraEventLog(store, positions),
        bus=bus,
        audits=CassandraAuditStore(store),
        hints=CassandraHintStore(store),
    )
    return backend, positions


async def test_another_process_finds_what_was_lost_and_nothing_else(store: CassandraStore) -> None:
    bus = LossyBus(partitions=PARTITIONS)
    backend, positions = backend_of(store, bus)
    auditing, unused = backend_of(store, bus)
    platform = Platform(backend)
    await platform.start()
    try:
        await asyncio.gather(*[platform.deposit(f"{n}", *range(1, 7)) for n in range(20)])
        bus.losing = True
        await platform.deposit("3", 1, 2, 3)
        await platform.deposit("lost", 1)
        bus.losing = False
        audit = await auditor_of(auditing, SETTINGS).cycle()
        log = await logged(backend)
    finally:
        await platform.stop()
        await positions.close()
        await unused.close()

    assert audit.missing == {"account/3": (6, 9), "account/lost": (0, 1)}
    assert (audit.streams, audit.republished, audit.complete) == (21, 4, True)
    stored = [(f"account/{n}", version) for n in range(20) for version in range(1, 7)]
    stored += [("account/3", version) for version in (7, 8, 9)] + [("account/lost", 1)]
    assert log == sorted(stored)
    assert (await CassandraAuditStore(store).load()).through_us == audit.begin_us
