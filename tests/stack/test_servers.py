"""Real servers: they answer, come back with their data, and end with their launcher."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from devstack.stack.born import born
from devstack.stack.cassandra import CommitLogSync
from devstack.stack.cql_probe import ALL, CqlRefusedError, ask
from devstack.stack.errors import ChildFailedError
from devstack.stack.leftovers import recorded
from devstack.stack.servers import Servers
from eventspine.rpc.address import split_address
from tests.stack.child_programs import ENDS_WITH_THE_OTHER, spec_of
from tests.stack.conftest import Bring

QUORUM = 4
GENEROUS_SECONDS = 300
ROW = [[b"kept"]]
SERVERS = ("Cassandra", "Kafka")


async def query(node: str, text: str, consistency: int = QUORUM) -> list[list[bytes | None]]:
    return await ask(*split_address(node), text, consistency=consistency)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits for something of other processes; what cannot be asked yet counts as no."""
    async with asyncio.timeout(GENEROUS_SECONDS):
        while not await true(holds):  # noqa: ASYNC110 # no event tells
            await asyncio.sleep(0.1)


async def true(holds: Callable[[], Awaitable[bool]]) -> bool:
    try:
        async with asyncio.timeout(20):
            return await holds()
    except (OSError, EOFError):
        return False


async def write_row(node: str, replicas: int) -> None:
    replication = f"{{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"
    await query(node, f"CREATE KEYSPACE launched WITH replication = {replication}")
    await query(node, "CREATE TABLE launched.rows (key int PRIMARY KEY, what text)")

    async def written() -> bool:
        # Refused until all nodes know the table.
        await query(node, "INSERT INTO launched.rows (key, what) VALUES (1, 'kept')")
        return True

    await until(written)


async def read_row(node: str, consistency: int = QUORUM) -> list[list[bytes | None]]:
    return await query(node, "SELECT what FROM launched.rows WHERE key = 1", consistency)


async def test_a_node_and_a_broker_answer(cassandra: str, kafka: str) -> None:
    assert await query(cassandra, "SELECT release_version FROM system.local") == [[b"5.0.8"]]
    known = await asyncio.to_thread(AdminClient({"bootstrap.servers": kafka}).list_topics, None, 60)
    assert len(known.brokers) == 1


async def test_a_node_that_refuses_says_why(cassandra: str) -> None:
    with pytest.raises(CqlRefusedError, match="nowhere"):
        await query(cassandra, "SELECT * FROM nowhere.rows")


@pytest.mark.stack
async def test_what_was_started_together_stops_together(tmp_path: Path) -> None:
    async with Servers(nodes=0, brokers=0) as servers:
        specs = []
        for name in ("command_svc-1", "query_svc-1"):
            (tmp_path / name).mkdir()
            specs.append(spec_of(ENDS_WITH_THE_OTHER, tmp_path / name, name=name, stop=3600))
        await servers.run(specs)
        children = [servers.children[name] for name in ("command_svc-1", "query_svc-1")]
        async with asyncio.timeout(GENEROUS_SECONDS):
            await servers.stop()
    for child in children:
        with pytest.raises(ChildFailedError, match="exit code 7"):
            child.check()


@pytest.mark.slow
async def test_servers_end_with_a_killed_launcher_and_come_back_with_what_they_had(
    up: Bring, tmp_path: Path
) -> None:
    first = await up("--servers-only", "--state", tmp_path / "state")
    await write_row(first.node, 1)
    children = recorded(tmp_path / "state").values()
    assert len([child for child in children if child.alive]) == 2
    assert await first.ended(signal.SIGKILL) == -signal.SIGKILL

    async def all_gone() -> bool:
        return not any(born(child.pid) for child in children)

    await until(all_gone)
    second = await up("--servers-only", "--state", tmp_path / "state")
    assert [second.told[name] for name in SERVERS] == [first.told[name] for name in SERVERS]
    assert await read_row(second.node) == ROW
    assert await second.ended(signal.SIGINT) == 0
    assert not [child for child in recorded(tmp_path / "state").values() if child.alive]


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_three_nodes_and_brokers_go_on_without_one_which_comes_back_or_is_replaced(
    launchable: None,
) -> None:
    async with Servers(nodes=3, brokers=3, sync=CommitLogSync.PERIODIC, quick=True) as servers:
        one, two, _ = servers.contact_points
        await write_row(one, 3)
        await servers.children["cassandra-2"].kill()
        await servers.children["kafka-2"].kill()

        async def quorum_answers() -> bool:
            return await read_row(one) == ROW

        async def all_answer() -> bool:
            return await read_row(two, ALL) == ROW

        await until(quorum_answers)
        with pytest.raises((OSError, TimeoutError)):
            await asyncio.wait_for(read_row(one, ALL), 60)
        await servers.children["cassandra-2"].restart()
        await servers.children["kafka-2"].restart()
        await until(all_answer)
        await servers.replace("cassandra-3")
        await until(all_answer)
        client = AdminClient({"bootstrap.servers": servers.bootstrap})
        known = await asyncio.to_thread(client.list_topics, None, 60)
        assert sorted(known.brokers) == [1, 2, 3]
