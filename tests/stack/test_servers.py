"""Real servers: they answer, come back with their data, and end with their launcher."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from devstack.stack.born import born
from devstack.stack.cassandra import CommitLogSync
from devstack.stack.cql_probe import ALL, CqlRefusedError, ask
from devstack.stack.leftovers import recorded
from devstack.stack.servers import Servers
from eventspine.rpc.address import split_address

ROOT = Path(__file__).parents[2]
QUORUM = 4
GENEROUS_SECONDS = 300
ROW = [[b"kept"]]


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
    await query(node, "INSERT INTO launched.rows (key, what) VALUES (1, 'kept')")


async def read_row(node: str, consistency: int = QUORUM) -> list[list[bytes | None]]:
    return await query(node, "SELECT what FROM launched.rows WHERE key = 1", consistency)


async def test_a_node_and_a_broker_answer(cassandra: str, kafka: str) -> None:
    assert await query(cassandra, "SELECT release_version FROM system.local") == [[b"5.0.8"]]
    known = await asyncio.to_thread(AdminClient({"bootstrap.servers": kafka}).list_topics, None, 60)
    assert len(known.brokers) == 1


async def test_a_node_that_refuses_says_why(cassandra: str) -> None:
    with pytest.raises(CqlRefusedError, match="nowhere"):
        await query(cassandra, "SELECT * FROM nowhere.rows")


class Up:
    """A running `make stack` without services."""

    def __init__(self, process: asyncio.subprocess.Process, told: dict[str, str]) -> None:
        self.process = process
        self.node = told["Cassandra"].split()[0]
        self.bootstrap = told["Kafka"]

    async def ended(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), GENEROUS_SECONDS)


@pytest.fixture
async def up(launchable: None, tmp_path: Path) -> AsyncIterator[Callable[[], Awaitable[Up]]]:
    """Brings servers up on one state folder, in a process of its own."""
    processes: list[asyncio.subprocess.Process] = []

    async def bring() -> Up:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "devstack.stack", "up", "--servers-only"),
            *("--state", str(tmp_path / "state"), "--commitlog-sync", "group"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        processes.append(process)
        assert process.stdout is not None
        told = {}
        while line := (await process.stdout.readline()).decode().strip():
            subject, _, text = line.partition(": ")
            told[subject] = text
            if line.startswith("all is up"):
                return Up(process, told)
        raise AssertionError("it did not come up")

    yield bring
    for process in processes:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@pytest.mark.slow
async def test_servers_end_with_a_killed_launcher_and_come_back_with_what_they_had(
    up: Callable[[], Awaitable[Up]], tmp_path: Path
) -> None:
    first = await up()
    await write_row(first.node, 1)
    children = recorded(tmp_path / "state").values()
    assert len([child for child in children if child.alive]) == 2
    assert await first.ended(signal.SIGKILL) == -signal.SIGKILL

    async def all_gone() -> bool:
        return not any(born(child.pid) for child in children)

    await until(all_gone)
    second = await up()
    assert (second.node, second.bootstrap) == (first.node, first.bootstrap)
    assert await read_row(second.node) == ROW
    assert await second.ended(signal.SIGINT) == 0
    assert not [child for child in recorded(tmp_path / "state").values() if child.alive]


@pytest.mark.slow
async def test_three_nodes_and_brokers_go_on_without_one_which_comes_back_or_is_replaced(
    launchable: None,
) -> None:
    async with Servers(nodes=3, brokers=3, sync=CommitLogSync.PERIODIC) as servers:
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
