"""One Cassandra node: its configuration, its command line, and when it is ready."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from devstack.stack.child import ChildSpec
from devstack.stack.cql_probe import ALL, ONE, ask
from devstack.stack.jars import Release
from devstack.stack.java import QUICK

RELEASE: Final = Release("cassandra", "5.0.8", ("org.apache.cassandra:cassandra-all:5.0.8",))
START_SECONDS: Final = 300.0
STOP_SECONDS: Final = 60.0
REPLICAS_MAX: Final = 3
HEAP_MIB_ALONE: Final = 768
HEAP_MIB_OF_MANY: Final = 512
TOKENS: Final = 4
"""How many tokens a node has. One that comes in place of another first repairs conditional writes
for each range and table: with 16 that took minutes under load, and sometimes failed."""

# Source: conf/jvm17-server.options of Cassandra 5.0.8.
EXPORTS: Final = (
    *("java.base/jdk.internal.misc", "java.base/jdk.internal.ref", "java.base/sun.nio.ch"),
    *("java.management.rmi/com.sun.jmx.remote.internal.rmi", "java.rmi/sun.rmi.registry"),
    *("java.rmi/sun.rmi.server", "java.rmi/sun.rmi.transport.tcp", "java.sql/java.sql"),
)
OPENS: Final = (
    *("java.base/java.lang.module", "java.base/java.net", "java.base/jdk.internal.loader"),
    *("java.base/jdk.internal.ref", "java.base/jdk.internal.reflect", "java.base/sun.nio.ch"),
    *("java.base/jdk.internal.math", "java.base/jdk.internal.module", "java.base/java.io"),
    *("java.base/jdk.internal.util.jar", "java.base/java.lang", "java.base/java.lang.reflect"),
    *("java.base/java.util", "java.base/java.util.concurrent", "java.base/java.nio"),
    *("java.base/java.util.concurrent.atomic", "java.rmi/sun.rmi.transport.tcp"),
    "jdk.management/com.sun.management.internal",
)


class CommitLogSync(StrEnum):
    """When a node acknowledges a write: when it is on the disk, or up to 10 s before that."""

    GROUP = "group"
    PERIODIC = "periodic"


SYNC_LINES: Final = {
    CommitLogSync.GROUP: "commitlog_sync: group\ncommitlog_sync_group_window: 2ms",
    CommitLogSync.PERIODIC: "commitlog_sync: periodic\ncommitlog_sync_period: 10000ms",
}


@dataclass(frozen=True, slots=True)
class Node:
    """Where one node of a cluster is.

    Attributes:
        number: 1 for the first one, which the others ask for the cluster when they come.
        host: Its address of this machine.
        native_port: Where clients connect; the same for all nodes.
        storage_port: Where nodes connect; the same for all nodes.
        jmx_port: Where `nodetool` connects, on 127.0.0.1.
        client_host: The host that clients are told, where something stands between them and the
            node; empty for `host`.
    """

    number: int
    host: str
    native_port: int
    storage_port: int
    jmx_port: int
    client_host: str = ""

    @property
    def name(self) -> str:
        """The name of its process."""
        return f"cassandra-{self.number}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the nodes of a cluster have in common.

    Attributes:
        name: Its name, by which a node of another stack is told apart.
        nodes: All of its nodes.
        sync: When writes are acknowledged.
        quick: Whether nodes are to start quickly, rather than to do much a second.
    """

    name: str
    nodes: tuple[Node, ...]
    sync: CommitLogSync
    quick: bool

    @property
    def heap_mib(self) -> int:
        """Java heap of each node in MiB."""
        return HEAP_MIB_ALONE if len(self.nodes) == 1 else HEAP_MIB_OF_MANY


class Coming(StrEnum):
    """How a node comes into its cluster.

    NEW: to a cluster without data, so it takes its tokens and streams nothing. AGAIN: with its own
    data, also when it is the first one up. REPLACING: without data, in the place of itself: it
    streams what the others have.
    """

    NEW = "new"
    AGAIN = "again"
    REPLACING = "replacing"


RING_DELAYS_MS: Final = {Coming.NEW: 5_000, Coming.AGAIN: 1_000, Coming.REPLACING: 20_000}
"""A node that joins gives up when no seed has answered for so long; slow machines need it.

The others come back to the address of the node that was ever more seldom while it is down: under
load, one in its place is not answered for ten seconds and more.
"""


def node_spec(
    cluster: Cluster, node: Node, *, java: Path, folder: Path, coming: Coming
) -> ChildSpec:
    """Writes a node's configuration into its folder, and returns how to run it.

    Args:
        cluster: The cluster.
        node: One of its nodes.
        java: The `java` to run.
        folder: The node's own folder, which exists; its data is or comes into `data` there.
        coming: How it comes into the cluster.
    """
    (folder / "cassandra.yaml").write_text(_configuration(cluster, node, folder / "data", coming))
    (folder / "logback.xml").write_text(_LOGBACK)

    async def ready() -> bool:
        return await _answers(cluster, node)

    return ChildSpec(
        name=node.name,
        argv=(str(java), *_arguments(cluster, node, folder, coming)),
        folder=folder,
        ready=ready,
        addresses=(
            (node.host, node.native_port),
            (node.host, node.storage_port),
            ("127.0.0.1", node.jmx_port),
        ),
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
    )


async def _answers(cluster: Cluster, node: Node) -> bool:
    """Tells whether the node has joined this cluster."""
    local = "SELECT cluster_name, bootstrapped FROM system.local"
    rows = await ask(node.host, node.native_port, local)
    return rows == [[cluster.name.encode(), b"COMPLETED"]]


async def agrees(cluster: Cluster, node: Node) -> bool:
    """Tells whether a node reaches as many replicas as a table of Cassandra's own has.

    That is three: a read of all of them is answered only when this node sees the others.
    """
    table = "SELECT status FROM system_distributed.view_build_status"
    nothing = f"{table} WHERE keyspace_name = 'none' AND view_name = 'none'"
    consistency = ALL if len(cluster.nodes) >= REPLICAS_MAX else ONE
    return await ask(node.host, node.native_port, nothing, consistency=consistency) == []


def _tokens(cluster: Cluster, node: Node) -> str:
    """Returns a node's tokens: all of the cluster are evenly spread, the nodes' in turns."""
    count = TOKENS * len(cluster.nodes)
    places = range(node.number - 1, count, len(cluster.nodes))
    return ",".join(str(-(2**63) + 1 + place * 2**64 // count) for place in places)


def _joining(cluster: Cluster, node: Node, coming: Coming) -> str:
    """Returns the lines of a configuration that say whom to ask, and what to take over."""
    if coming is Coming.NEW:
        seeds, lines = cluster.nodes[:1], ["auto_bootstrap: false"]
        lines.append(f'initial_token: "{_tokens(cluster, node)}"')
    elif coming is Coming.AGAIN:
        # A node that is a seed starts though no other is up.
        seeds, lines = cluster.nodes, []
    else:
        # A seed would not stream.
        seeds, lines = tuple(other for other in cluster.nodes if other != node), []
    addresses = ",".join(f"{seed.host}:{seed.storage_port}" for seed in seeds)
    return "\n".join(
        [
            *lines,
            "seed_provider:",
            "  - class_name: org.apache.cassandra.locator.SimpleSeedProvider",
            f'    parameters: [{{seeds: "{addresses}"}}]',
        ]
    )


def _configuration(cluster: Cluster, node: Node, data: Path, coming: Coming) -> str:
    return f"""\
cluster_name: {cluster.name}
num_tokens: {TOKENS}
allocate_tokens_for_local_replication_factor: 3
hinted_handoff_enabled: true
{SYNC_LINES[cluster.sync]}
commitlog_segment_size: 32MiB
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories: ["{data / "data"}"]
commitlog_directory: "{data / "commitlog"}"
saved_caches_directory: "{data / "saved_caches"}"
hints_directory: "{data / "hints"}"
cdc_raw_directory: "{data / "cdc_raw"}"
listen_address: {node.host}
rpc_address: {node.host}
broadcast_rpc_address: {node.client_host or node.host}
storage_port: {node.storage_port}
native_transport_port: {node.native_port}
endpoint_snitch: SimpleSnitch
{_joining(cluster, node, coming)}
paxos_variant: v2
storage_compatibility_mode: NONE
memtable_allocation_type: offheap_objects
memtable: {{configurations: {{trie: {{class_name: TrieMemtable}}, default: {{inherits: trie}}}}}}
auto_snapshot: false
"""


def _arguments(cluster: Cluster, node: Node, folder: Path, coming: Coming) -> list[str]:
    jars = RELEASE.folder()
    (jamm,) = jars.glob("jamm-*.jar")
    replacing = [f"-Dcassandra.replace_address_first_boot={node.host}:{node.storage_port}"]
    return [
        *(replacing if coming is Coming.REPLACING else []),
        *(QUICK if cluster.quick else ()),
        f"-javaagent:{jamm}",
        *(f"--add-exports={package}=ALL-UNNAMED" for package in EXPORTS),
        *(f"--add-opens={package}=ALL-UNNAMED" for package in OPENS),
        *(f"-Xms{cluster.heap_mib}m", f"-Xmx{cluster.heap_mib}m"),
        *("-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError"),
        f"-Dcassandra.config={(folder / 'cassandra.yaml').as_uri()}",
        f"-Dlogback.configurationFile={folder / 'logback.xml'}",
        f"-Dcassandra.storagedir={folder / 'data'}",
        f"-Dcassandra.jmx.local.port={node.jmx_port}",
        *("-Dcassandra-foreground=yes", "-Djdk.attach.allowAttachSelf=true"),
        f"-Dcassandra.ring_delay_ms={RING_DELAYS_MS[coming]}",
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        *("-cp", f"{jars}/*", "org.apache.cassandra.service.CassandraDaemon"),
    ]


_LOGBACK: Final = """\
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%level %date %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"""
