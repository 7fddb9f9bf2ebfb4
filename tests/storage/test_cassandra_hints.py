"""The Cassandra backend against the suites of HintStore and AuditStore, on a real server."""

from collections.abc import AsyncIterator, Iterator

import pytest

from eventspine.storage.cassandra.hints import CassandraAuditStore, CassandraHintStore
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.records import AuditMark, HintWriter
from eventspine.storage.stack import StackSettings
from tests.storage.cassandra_keyspace import as_new_tenant, new_keyspace
from tests.storage.hint_store_suite import AuditStoreSuite, HintStoreSuite


@pytest.fixture(scope="module")
def keyspace(cassandra: str) -> Iterator[StackSettings]:
    with new_keyspace(cassandra, partitions=1) as settings:
        yield settings


@pytest.fixture
async def store(keyspace: StackSettings) -> AsyncIterator[CassandraStore]:
    opened = await CassandraStore.open(as_new_tenant(keyspace))
    yield opened
    await opened.close()


@pytest.fixture
def hints(store: CassandraStore) -> CassandraHintStore:
    return CassandraHintStore(store)


@pytest.fixture
def audits(store: CassandraStore) -> CassandraAuditStore:
    return CassandraAuditStore(store)


class TestCassandraHintStore(HintStoreSuite):
    pass


class TestCassandraAuditStore(AuditStoreSuite):
    pass


async def test_tenants_have_hints_and_marks_of_their_own(
    keyspace: StackSettings, hints: CassandraHintStore, audits: CassandraAuditStore
) -> None:
    await hints.note("w1", 1, ["account/a"])
    await hints.beat(HintWriter("w1", 1, 1, 1))
    await audits.save(AuditMark(through_us=1, ended_us=2, cycles=1))
    other = await CassandraStore.open(as_new_tenant(keyspace))
    try:
        assert await CassandraHintStore(other).writers() == []
        assert await CassandraHintStore(other).streams("w1", 1) == []
        assert await CassandraAuditStore(other).load() == AuditMark()
    finally:
        await other.close()
