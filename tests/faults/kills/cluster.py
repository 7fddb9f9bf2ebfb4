"""The whole platform on three nodes and three brokers, every process of which can be struck down.

Services reach each node through a proxy, which can cut them off from it.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from devstack.stack import cassandra
from devstack.stack.child import Child
from devstack.stack.servers import Servers
from tests.stack.forking import Forked, Forking
from tests.stack.platform import Ground, StackPlatform
from tests.storage.proxy import Proxy

MODULES = ("command_svc", "processor_svc", "query_svc")
PARTITIONS = 4


class ProxiedServers(Servers):
    """Servers whose nodes tell clients another address of this machine, on the same port."""

    def nodes(self) -> tuple[cassandra.Node, ...]:
        return tuple(
            replace(node, client_host=f"127.0.1.{node.number}") for node in super().nodes()
        )


class Cluster:
    """What runs; an async context manager.

    Attributes:
        servers: Three Cassandra nodes and three Kafka brokers.
        platform: Two of each service, and both tiers of Envoy.
        proxies: What stands before each node, by the node's name.
    """

    def __init__(self, forking: Forking, folder: Path) -> None:
        self.servers = ProxiedServers(nodes=3, brokers=3, quick=True)
        self.proxies: dict[str, Proxy] = {}
        self.platform: StackPlatform
        self._forking = forking
        self._folder = folder
        self._stack = AsyncExitStack()

    @property
    def address(self) -> str:
        """The one address of clients."""
        return self.platform.address

    @property
    def settings(self) -> Mapping[str, str]:
        """How services reach the servers, by the names in the environment."""
        return {
            "EVENTSPINE_CONTACT_POINTS": ",".join(self.servers.contact_points),
            "EVENTSPINE_TOPIC_REPLICATION": "3",
            "EVENTSPINE_PARTITIONS": str(PARTITIONS),
        }

    def child(self, kind: str, number: int) -> Child:
        """Returns a server, such as the second of `cassandra`."""
        return self.servers.children[f"{kind}-{number}"]

    def children(self, kind: str) -> list[Child]:
        """Returns all servers of a kind."""
        return [self.child(kind, number) for number in (1, 2, 3)]

    def process(self, name: str) -> Forked:
        """Returns a service process, such as `query_svc-1`."""
        return self.platform.processes[name]

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.servers)
            for node in self.servers.nodes():
                target = f"{node.host}:{node.native_port}"
                proxy = Proxy(target, host=node.client_host, port=node.native_port)
                self.proxies[node.name] = await stack.enter_async_context(proxy)
            ground = Ground(self.servers.contact_points[0], self.servers.bootstrap)
            self.platform = StackPlatform(
                self._forking, ground, self._folder, tenant="kills", settings=self.settings
            )
            await stack.enter_async_context(self.platform)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def kill(self, name: str) -> None:
        """Kills a service process as `kill -9` does, and waits until it is gone."""
        await self.platform.stopped(name, 9)

    async def start(self, name: str) -> None:
        """Starts a service process where it was, and waits until it serves."""
        self.platform.start(name)
        await self.platform.serving(name)
