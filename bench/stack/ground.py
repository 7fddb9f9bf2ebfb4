"""The ground that all halves stand on: servers, services, gateways, and the raw client beside them.

Both halves of a goal write into one keyspace of one cluster.
"""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.commands import RECORD_BYTES
from bench.peer_process import PeerProcess
from bench.rounds import Half
from devstack.stack.cassandra import CommitLogSync
from devstack.stack.platform import front_address, run_platform
from devstack.stack.servers import Servers
from devstack.stack.services import Instances
from eventspine.storage.cassandra.event_tables import EVENT_TABLES
from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.stack import StackSettings

ENVIRONMENT = Path(".venv-peer-cassandra")
CONSTRAINTS = Path("constraints-peer-cassandra.txt")
KEYSPACE = "eventspine"
RAW_ROWS = """CREATE TABLE IF NOT EXISTS {keyspace}.raw_rows (
    tenant text, build int, account_id text, log_partition int, sequence bigint, encoded blob,
    PRIMARY KEY ((tenant, build, account_id), log_partition))"""


class Raw:
    """The raw halves, by the quickest client at hand."""

    def __init__(self, process: PeerProcess) -> None:
        """Uses a running process of `peer_cassandra.py`."""
        self._process = process

    def distinct(self, count: int, in_flight: int) -> Half:
        """D2: one event on each of so many new streams."""
        answer = self._process.ask(work="distinct", count=count, in_flight=in_flight)
        return Half(count, answer["seconds"], answer["stored"])

    def one_stream(self, count: int) -> Half:
        """D2s: events on one stream, each after the one before."""
        answer = self._process.ask(work="one_stream", count=count)
        return Half(count, answer["seconds"], answer["stored"])

    def one_stream_median(self, count: int) -> float:
        """D2s: the median of one append, in seconds."""
        return float(self._process.ask(work="one_stream", count=count)["median"])

    def rows(self, count: int, in_flight: int) -> Half:
        """D3: so many rows of a view."""
        answer = self._process.ask(work="rows", count=count, in_flight=in_flight)
        return Half(count, answer["seconds"], answer["stored"])

    def row_median(self, count: int) -> float:
        """D3 one at a time: the median of one row, in seconds."""
        return float(self._process.ask(work="rows", count=count, in_flight=1)["median"])


@dataclass(frozen=True, slots=True)
class Ground:
    """What runs.

    Attributes:
        address: Where clients call: the load balancer.
        settings: For a process of ours on the same keyspace.
        raw: The raw halves on it.
        nodes: How many nodes there are.
    """

    address: str
    settings: StackSettings
    raw: Raw
    nodes: int

    def settings_beside(self) -> StackSettings:
        """Returns settings for a keyspace and topics of their own in the same cluster."""
        name = f"bench_{secrets.token_hex(4)}"
        return StackSettings(
            contact_points=self.settings.contact_points,
            bootstrap_servers=self.settings.bootstrap_servers,
            keyspace=name,
            tenant="bench",
            request_timeout_seconds=30.0,
        )


@asynccontextmanager
async def ground(nodes: int, say: Callable[[str], None]) -> AsyncIterator[Ground]:
    """Starts the stack, one process of each service, and the raw client; stops all at the end.

    The nodes acknowledge before the disk has a write, on both sides of every goal: with a wait for
    the disk all quotients come out nearer to 1.
    """
    async with Servers(nodes=nodes, brokers=1, sync=CommitLogSync.PERIODIC, say=say) as servers:
        address = front_address("127.0.0.1:0")
        await run_platform(servers, Instances(command=1, processor=1, query=1), address=address)
        settings = StackSettings(
            contact_points=servers.contact_points,
            bootstrap_servers=tuple(servers.bootstrap.split(",")),
            keyspace=KEYSPACE,
            request_timeout_seconds=30.0,
        )
        await _raw_tables(settings)
        process = PeerProcess(
            "bench.peer_cassandra",
            [settings.contact_points[0], KEYSPACE, str(RECORD_BYTES)],
            environment=ENVIRONMENT,
            pins=CONSTRAINTS,
        )
        with process:
            process.ask(work="versions")
            yield Ground(address, settings, Raw(process), nodes)


async def _raw_tables(settings: StackSettings) -> None:
    session = await CassandraSession.open(settings)
    try:
        events = EVENT_TABLES[0].replace(".events", ".raw_events")
        for cql in (events, RAW_ROWS):
            await session.define(cql.replace("{keyspace}", KEYSPACE))
    finally:
        await session.close()
