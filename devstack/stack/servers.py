"""Real Cassandra and Kafka for tests, benches and `make stack`; none outlives its owner."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from devstack.stack import cassandra, kafka
from devstack.stack.cassandra import CommitLogSync
from devstack.stack.child import Child, ChildSpec
from devstack.stack.errors import ShapeError
from devstack.stack.home import Home
from devstack.stack.jars import Release, fetched
from devstack.stack.java import find_java
from devstack.stack.layout import COUNTS, Layout, layout_of
from devstack.stack.leftovers import stop_leftovers

HEAP_MIB_ALONE: Final = 768
HEAP_MIB_OF_MANY: Final = 512

Say = Callable[[str], None]


class Servers:
    """Running servers; an async context manager that belongs to no event loop.

    Attributes:
        children: Each child by its name: `cassandra-1`, `kafka-1` and so on. Kill, pause, resume
            or restart one by its methods.
        home: The state folder, once it is started.
    """

    def __init__(
        self,
        *,
        nodes: int = 1,
        brokers: int = 1,
        state: Path | None = None,
        sync: CommitLogSync = CommitLogSync.GROUP,
        say: Say = lambda _: None,
    ) -> None:
        """Prepares servers; entering or `start` starts them.

        Args:
            nodes: How many Cassandra nodes: 0, 1 or 3.
            brokers: How many Kafka brokers: 0, 1 or 3.
            state: A folder that is kept, and may be started again; None throws the data away.
            sync: When Cassandra acknowledges a write.
            say: Is told, in a sentence, how far the start is.

        Raises:
            ShapeError: There are no such numbers.
        """
        for what, count in (("Cassandra nodes", nodes), ("Kafka brokers", brokers)):
            if count not in COUNTS:
                raise ShapeError(f"{count} {what} cannot be started; choose 1 or 3 (0 is none)")
        self._counts = {"nodes": nodes, "brokers": brokers}
        self._state = state
        self._sync = sync
        self._say = say
        self.children: dict[str, Child] = {}
        self.home: Home
        self._layout: Layout

    @property
    def contact_points(self) -> tuple[str, ...]:
        """Where Cassandra's nodes listen, each `host:port`."""
        return tuple(f"{node.host}:{node.native_port}" for node in self._layout.nodes())

    @property
    def bootstrap(self) -> str:
        """Where Kafka's brokers listen, as clients want it: `host:port,host:port`."""
        return ",".join(f"{kafka.HOST}:{broker.port}" for broker in self._layout.brokers())

    async def __aenter__(self) -> Self:
        """Starts, as `start` does."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops, as `stop` does."""
        await self.stop()

    async def start(self) -> None:
        """Starts every server and returns when all answer a real query.

        Raises:
            JavaNotFoundError: No Java runs the servers. Nothing was started.
            JarsNotFoundError: The servers cannot be fetched. Nothing was started.
            StateOwnedError: Another process owns the state folder. Nothing was started.
            ShapeError: The state folder was made otherwise. Nothing was started.
            AddressTakenError: A port is taken. What was started is stopped again.
            ChildFailedError: A server failed; the text has its log's tail. All are stopped again.
        """
        java = find_java().path
        jars = {r.name: await asyncio.to_thread(fetched, r, self._say) for r in self._releases()}
        self.home = Home.throw_away() if self._state is None else Home.open(self._state)
        try:
            for name in await asyncio.to_thread(stop_leftovers, self.home.folder):
                self._say(f"stopped {name}, which an earlier run left behind")
            self._layout = layout_of(self.home.folder, **self._counts)
            self.home.guard()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._start_nodes(java, jars.get("cassandra")))
                group.create_task(self._start_brokers(java, jars.get("kafka")))
        except BaseException as error:
            await self.stop()
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise

    def _releases(self) -> list[Release]:
        used = ((cassandra.RELEASE, "nodes"), (kafka.RELEASE, "brokers"))
        return [release for release, count in used if self._counts[count]]

    async def _start_nodes(self, java: Path, jars: Path | None) -> None:
        if jars is None:
            return
        nodes = self._layout.nodes()
        heap = HEAP_MIB_ALONE if len(nodes) == 1 else HEAP_MIB_OF_MANY
        cluster = cassandra.Cluster(self._layout.cluster_name, nodes, self._sync, heap)
        for node in nodes:
            room = self.home.room(node.name)
            spec = cassandra.node_spec(cluster, node, java=java, jars=jars, folder=room)
            await self.run([spec])

    async def _start_brokers(self, java: Path, jars: Path | None) -> None:
        if jars is None:
            return
        cluster = kafka.Brokers(self._layout.cluster_id, self._layout.brokers(), 512)
        specs = [
            await asyncio.to_thread(
                kafka.broker_spec,
                cluster,
                broker,
                java=java,
                jars=jars,
                folder=self.home.room(broker.name),
            )
            for broker in cluster.brokers
        ]
        await self.run(specs)

    async def run(self, specs: Iterable[ChildSpec]) -> None:
        """Starts more children together, and returns when all are ready.

        Raises:
            AddressTakenError: A port is taken. Those before it were started.
            ChildFailedError: One failed. The others go on; `stop` stops them.
        """
        started = [self._started(spec) for spec in specs]
        for child in started:
            await child.wait_ready()
            self._say(f"{child.spec.name} is ready")

    def _started(self, spec: ChildSpec) -> Child:
        child = Child(spec, self.home.note)
        self.children[spec.name] = child
        child.start()
        self._say(f"{spec.name} starts")
        return child

    async def stop(self) -> None:
        """Stops every child, the last one started first, and gives the state folder up."""
        for child in reversed(self.children.values()):
            await child.stop()
        self.children.clear()
        await asyncio.to_thread(self.home.close)
