"""What a keyspace says of its acknowledgements, on real servers with either kind of commit log."""

from collections.abc import Iterator

import pytest

from devstack.stack.cassandra import CommitLogSync
from eventspine.storage.cassandra.durability import Durability, read_durability
from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.stack import StackSettings
from tests.stack_servers import started
from tests.storage.cassandra_keyspace import settings_for

NETWORK = "{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}"


@pytest.fixture(scope="module")
def waiting_for_the_disk(launchable: None) -> Iterator[str]:
    with started(nodes=1, brokers=0, sync=CommitLogSync.GROUP) as servers:
        yield servers.contact_points[0]


async def said(settings: StackSettings, *, durable: bool, replicas: int) -> Durability:
    session = await CassandraSession.open(settings)
    try:
        await session.define(
            f"CREATE KEYSPACE {settings.keyspace} WITH replication = {NETWORK}"
            f" AND durable_writes = {str(durable).lower()}"
        )
        return await read_durability(session, "QUORUM", {"datacenter1": replicas})
    finally:
        await session.define(f"DROP KEYSPACE IF EXISTS {settings.keyspace}")
        await session.close()


async def test_nodes_that_wait_for_their_disks_have_no_weakness(waiting_for_the_disk: str) -> None:
    found = await said(settings_for(waiting_for_the_disk), durable=True, replicas=3)
    assert found.weaknesses == ()
    assert found.words.endswith("in its commit log on the disk (commitlog_sync: group)")


async def test_a_keyspace_that_passes_the_commit_log_by_is_weak(waiting_for_the_disk: str) -> None:
    found = await said(settings_for(waiting_for_the_disk), durable=False, replicas=3)
    (weakness,) = found.weaknesses
    assert "durable_writes = true" in weakness


async def test_an_answer_before_the_disk_and_too_few_replicas_are_weak(cassandra: str) -> None:
    early, few = (await said(settings_for(cassandra), durable=True, replicas=1)).weaknesses
    assert "set commitlog_sync: group" in early
    assert "fewer than 3 replicas" in few
