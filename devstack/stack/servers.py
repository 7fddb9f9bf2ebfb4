"""Real Cassandra and Kafka for tests, benches and `make stack`; none outlives its owner."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from devstack.stack import cassandra, kafka
from devstack.stack.cassandra import Coming, CommitLogSync
from devstack.stack.child import Child, ChildSpec
from devstack.stack.errors import ChildFailedError
from devstack.stack.home import Home
from devstack.stack.jars import Release, fetched
from devstack.stack.java import find_java
from devstack.stack.layout import Layout, check_counts, layout_of
from devstack.stack.leftovers import stop_leftovers

WATCH_SECONDS: Final = 0.5
REPLACE_ATTEMPTS: Final = 4
REPLACE_PAUSE_SECONDS: Final = 5.0
JOINED: Final = "joined"
"""The file that says that the nodes of a state folder have formed their cluster."""

Say = Callable[[str], None]


class Servers:
    """Running servers; an async context manager that belongs to no event loop.

    Attributes:
        children: Each child by its name: `cassandra-1`, `kafka-1` and so on. Kill, pause, resume
            or restart one by its methods.
    """

    def __init__(
        self,
        *,
        nodes: int = 1,
        brokers: int = 1,
        state: Path | None = None,
        sync: CommitLogSync = CommitLogSync.GROUP,
        quick: bool = False,
        say: Say = lambda _: None,
    ) -> None:
        """Prepares servers; entering or `start` starts them.

        Args:
            nodes: How many Cassandra nodes: 0, 1 or 3.
            brokers: How many Kafka brokers: 0, 1 or 3.
            state: A folder that is kept, and may be started again; None throws the data away.
            sync: When Cassandra acknowledges a write.
            quick: Whether servers are to start in half the processor time, rather than to do much a
                second: for tests, not for benches.
            say: Is told, in a sentence, how far the start is.

        Raises:
            ShapeError: There are no such numbers.
        """
        check_counts(nodes=nodes, brokers=brokers)
        self._counts = {"nodes": nodes, "brokers": brokers}
        self._state = state
        self._sync = sync
        self._quick = quick
        self._say = say
        self.children: dict[str, Child] = {}
        # Nodes and brokers first, then those of each `run`.
        self._together: list[list[Child]] = [[]]
        self._home: Home | None = None
        self._layout: Layout

    @property
    def contact_points(self) -> tuple[str, ...]:
        """Where clients reach Cassandra's nodes, each `host:port`."""
        nodes = self.nodes()
        return tuple(f"{node.client_host or node.host}:{node.native_port}" for node in nodes)

    def nodes(self) -> tuple[cassandra.Node, ...]:
        """Returns where each Cassandra node is."""
        return self._layout.nodes()

    @property
    def bootstrap(self) -> str:
        """Where Kafka's brokers listen, as clients want it: `host:port,host:port`."""
        return ",".join(f"{kafka.HOST}:{broker.port}" for broker in self._layout.brokers())

    @property
    def home(self) -> Home:
        """The state folder, from the start on until the stop."""
        assert self._home is not None, "the servers are not started"
        return self._home

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
        for release in self._releases():
            await asyncio.to_thread(fetched, release, self._say)
        self._home = Home.throw_away() if self._state is None else Home.open(self._state)
        try:
            for name in await asyncio.to_thread(stop_leftovers, self._home.folder):
                self._say(f"stopped {name}, which an earlier run had left behind")
            self._layout = layout_of(self._home.folder, **self._counts)
            self._home.guard()
            await _all_of([self._start_nodes(java), self._start_brokers(java)])
        except BaseException:
            self._say("stopping what was started")
            await self.stop()
            raise

    def _releases(self) -> list[Release]:
        used = ((cassandra.RELEASE, "nodes"), (kafka.RELEASE, "brokers"))
        return [release for release, count in used if self._counts[count]]

    async def _start_nodes(self, java: Path) -> None:
        """Starts all nodes; of a new cluster the first one before the others, which ask it."""
        nodes = self.nodes()
        new = not (self.home.folder / JOINED).exists()
        for together in (nodes[:1], nodes[1:]) if new else (nodes,):
            coming = Coming.NEW if new else Coming.AGAIN
            await self._run([self._node_spec(java, node, coming) for node in together])
        for node in nodes:
            child = self.children[node.name]
            await child.wait(partial(cassandra.agrees, self._cluster(), node))
            child.spec = self._node_spec(java, node, Coming.AGAIN)
        (self.home.folder / JOINED).touch()

    def _cluster(self) -> cassandra.Cluster:
        nodes = self.nodes()
        return cassandra.Cluster(self._layout.cluster_name, nodes, self._sync, self._quick)

    def _node_spec(self, java: Path, node: cassandra.Node, coming: Coming) -> ChildSpec:
        room = self.home.room(node.name)
        return cassandra.node_spec(self._cluster(), node, java=java, folder=room, coming=coming)

    async def replace(self, name: str) -> None:
        """Destroys a node of three with all its data, and has a new one take its place.

        Returns when the new one has streamed what the others have and answers queries.

        Args:
            name: The node's name, such as `cassandra-2`.

        Raises:
            ChildFailedError: The new node failed.
        """
        node = next(node for node in self.nodes() if node.name == name)
        child = self.children[name]
        await child.kill()
        java = Path(child.spec.argv[0])
        child.spec = self._node_spec(java, node, Coming.REPLACING)
        for attempt in range(1, REPLACE_ATTEMPTS + 1):
            await asyncio.to_thread(shutil.rmtree, child.spec.folder / "data", ignore_errors=True)
            try:
                await child.restart()
                break
            except ChildFailedError:
                # The others refuse it as long as they take the old one to be alive.
                if attempt == REPLACE_ATTEMPTS:
                    raise
                self._say(f"{name} is not taken in yet, trying again")
                await asyncio.sleep(REPLACE_PAUSE_SECONDS)
        child.spec = self._node_spec(java, node, Coming.AGAIN)

    async def _start_brokers(self, java: Path) -> None:
        cluster = kafka.Brokers(self._layout.cluster_id, self._layout.brokers(), self._quick)
        specs = []
        for broker in cluster.brokers:
            room = self.home.room(broker.name)
            kafka.write_configuration(cluster, broker, folder=room)
            formatting = kafka.format_spec(cluster, broker, java=java, folder=room)
            if formatting is not None:
                await Child(formatting, self.home.note).run_to_end()
            specs.append(kafka.broker_spec(cluster, broker, java=java, folder=room))
        await self._run(specs)

    async def run(self, specs: Iterable[ChildSpec]) -> None:
        """Starts more children together, and returns when all are ready.

        Raises:
            AddressTakenError: A port is taken. Those before it were started.
            ChildFailedError: One failed. The others go on; `stop` stops them.
        """
        self._together.append([])
        await self._run(specs)

    async def _run(self, specs: Iterable[ChildSpec]) -> None:
        started = [self._started(spec) for spec in specs]
        await _all_of([self._ready(child) for child in started])

    def _started(self, spec: ChildSpec) -> Child:
        child = self.children[spec.name] = Child(spec, self.home.note)
        self._together[-1].append(child)
        child.start()
        self._say(f"{spec.name} starts")
        return child

    async def _ready(self, child: Child) -> None:
        await child.wait_ready()
        self._say(f"{child.spec.name} is ready")

    async def watch(self) -> None:
        """Returns never, as long as every child goes on.

        Raises:
            ChildFailedError: One has ended by itself; the text has its log's tail.
        """
        while True:
            for child in list(self.children.values()):
                child.check()
            await asyncio.sleep(WATCH_SECONDS)

    async def stop(self) -> None:
        """Stops every child, those of the last `run` first, and gives the state folder up.

        Those of one `run` stop together, and so do nodes and brokers. Nothing happens where nothing
        is started.
        """
        if self._home is None:
            return
        for children in reversed(self._together):
            await asyncio.gather(*(child.stop() for child in children))
        self._together = [[]]
        self.children.clear()
        await asyncio.to_thread(self._home.close)
        self._home = None


async def _all_of(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Waits for all; the first failure cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
