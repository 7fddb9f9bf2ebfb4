"""A whole platform on real Cassandra and Kafka: two of each service, behind both tiers of Envoy.

A keyspace takes seconds to make, so the platforms of a run share one. Each is a tenant of its own,
with topics of its own: its store is empty, and it sees nothing of the others.
"""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from cassandra.cluster import Cluster
from confluent_kafka.admin import AdminClient

from devstack.edge.contract import descriptor_set
from devstack.edge.tiers import Edge
from devstack.stack.services import Instances, serves, services
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from eventspine.rpc.address import split_address
from tests.stack.forking import Forked, Forking

SECONDS = 240.0
_NUMBERS = itertools.count(1)


class Ground:
    """The servers of a run of tests, and the keyspace that its platforms share.

    Attributes:
        settings: How services reach it, by their names in the environment.
    """

    def __init__(self, cassandra: str, kafka: str) -> None:
        self.kafka = kafka
        self.keyspace = f"journeys_{os.getpid()}_{int(time.time())}"
        self.settings = {
            "EVENTSPINE_CONTACT_POINTS": cassandra,
            "EVENTSPINE_BOOTSTRAP_SERVERS": kafka,
            "EVENTSPINE_KEYSPACE": self.keyspace,
            "EVENTSPINE_PARTITIONS": "4",
        }
        self._cassandra = split_address(cassandra)

    def close(self) -> None:
        """Drops the keyspace."""
        host, port = self._cassandra
        with Cluster([host], port=port) as cluster:
            cluster.connect().execute(f"DROP KEYSPACE IF EXISTS {self.keyspace}", timeout=60)


class StackPlatform:
    """A running platform; an async context manager.

    Attributes:
        address: The one address, once it is entered.
        addresses: Where the services listen, by the kind of call.
        processes: The processes by name, such as `command_svc-1`.
        edge: Both tiers of Envoy, once it is entered.
        keyspace: The keyspace of the run, where its settings name no other.
        settings: Of all its services, by their names in the environment.
        topic_prefix: What the names of its topics begin with.
    """

    def __init__(
        self,
        forking: Forking,
        ground: Ground,
        folder: Path,
        *,
        tenant: str = "",
        settings: Mapping[str, str] | None = None,
        instances: Instances | None = None,
    ) -> None:
        number = next(_NUMBERS)
        self.address = ""
        self.processes: dict[str, Forked] = {}
        self.edge: Edge | None = None
        self._forking = forking
        self._ground = ground
        self.keyspace = ground.keyspace
        self._folder = folder
        self.topic_prefix = f"{ground.keyspace}_{number}"
        own = {
            "EVENTSPINE_TENANT": tenant or f"tenant-{number}",
            "EVENTSPINE_TOPIC_PREFIX": self.topic_prefix,
            "EVENTSPINE_DRAIN_SECONDS": "0",
        }
        self.settings = {**ground.settings, **own, **(settings or {})}
        self._services = services(self.settings, instances or Instances(), self._room)
        self.addresses = self._services.addresses

    async def __aenter__(self) -> Self:
        try:
            for spec in self._services.specs:
                self.start(spec.name)
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(*map(self.serving, self.processes))
            protos = [*BANK.protos, *FLIGHTS.protos]
            self.edge = Edge(descriptor_set(protos), self.addresses, self._folder / "edge")
            await self.edge.__aenter__()
            self.address = self.edge.address
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()

    def start(self, name: str) -> None:
        """Starts a process, again where it was before."""
        spec = next(spec for spec in self._services.specs if spec.name == name)
        module = name.rpartition("-")[0]
        self.processes[name] = self._forking.start(module, spec.env, spec.folder / "log")

    async def serving(self, name: str) -> None:
        """Waits until a process serves."""
        spec = next(spec for spec in self._services.specs if spec.name == name)
        while not await serves(spec.env["EVENTSPINE_ADDRESS"]):
            process = self.processes[name]
            assert process.code is None, f"{name} ended: {process.log.read_text()}"
            await asyncio.sleep(0.02)

    async def stopped(self, name: str, number: int = signal.SIGTERM) -> int:
        """Sends a signal to a process; returns its exit code once it has ended."""
        self.processes[name].signal(number)
        return await self._ended(name)

    async def _ended(self, name: str) -> int:
        process = self.processes[name]
        async with asyncio.timeout(SECONDS):
            while process.code is None:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)
        return process.code

    def _room(self, name: str) -> Path:
        room = self._folder / name
        room.mkdir(parents=True, exist_ok=True)
        return room

    async def _end(self) -> None:
        if self.edge is not None:
            await self.edge.__aexit__(None, None, None)
        for process in self.processes.values():
            process.signal(signal.SIGTERM)
        codes = {name: await self._ended(name) for name in self.processes}
        await asyncio.to_thread(self._drop)
        problems = [self.processes[name].log.read_text() for name, code in codes.items() if code]
        assert not problems, (codes, *problems)

    def _drop(self) -> None:
        admin = AdminClient({"bootstrap.servers": self._ground.kafka})
        topics = [f"{self.topic_prefix}.{channel}" for channel in ("events", "log", "changes")]
        for deleted in admin.delete_topics(topics).values():
            deleted.exception(60)
