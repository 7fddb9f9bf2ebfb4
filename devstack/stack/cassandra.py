"""One Cassandra node: its configuration, its command line, and when it is ready."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from devstack.stack.child import ChildSpec
from devstack.stack.cql_probe import ALL, ONE, ask
from devstack.stack.jars import Release

RELEASE: Final = Release("cassandra", "5.0.8", ("org.apache.cassandra:cassandra-all:5.0.8",))
START_SECONDS: Final = 300.0
STOP_SECONDS: Final = 60.0
REPLICAS_MAX: Final = 3

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
    """

    number: int
    host: str
    native_port: int
    storage_port: int
    jmx_port: int

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
        heap_mib: Java heap of each node in MiB.
    """

    name: str
    nodes: tuple[Node, ...]
    sync: CommitLogSync
    heap_mib: int


def node_spec(cluster: Cluster, node: Node, *, java: Path, jars: Path, folder: Path) -> ChildSpec:
    """Writes a node's configuration into its folder, and returns how to run it.

    Args:
        cluster: The cluster.
        node: One of its nodes.
        java: The `java` to run.
        jars: The folder of `RELEASE`.
        folder: The node's own folder, which exists; its data is or comes into `data` there.
    """
    (folder / "cassandra.yaml").write_text(_configuration(cluster, node, folder / "data"))
    (folder / "logback.xml").write_text(_LOGBACK)

    async def ready() -> bool:
        return await _answers(cluster, node)

    return ChildSpec(
        name=node.name,
        argv=(str(java), *_arguments(cluster, node, jars, folder)),
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
    """Tells whether the node is of this cluster and reaches as many replicas as there can be."""
    local = "SELECT cluster_name FROM system.local"
    rows = await ask(node.host, node.native_port, local)
    if rows != [[cluster.name.encode()]]:
        return False
    replicated = "SELECT status FROM system_distributed.view_build_status WHERE keyspace_name = ''"
    consistency = ALL if len(cluster.nodes) >= REPLICAS_MAX else ONE
    question = f"{replicated} AND view_name = ''"
    return await ask(node.host, node.native_port, question, consistency=consistency) == []


def _configuration(cluster: Cluster, node: Node, data: Path) -> str:
    seed = cluster.nodes[0]
    return f"""\
cluster_name: {cluster.name}
num_tokens: 16
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
storage_port: {node.storage_port}
native_transport_port: {node.native_port}
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "{seed.host}:{seed.storage_port}"}}]
paxos_variant: v2
storage_compatibility_mode: NONE
memtable_allocation_type: offheap_objects
memtable: {{configurations: {{trie: {{class_name: TrieMemtable}}, default: {{inherits: trie}}}}}}
auto_snapshot: false
"""


def _arguments(cluster: Cluster, node: Node, jars: Path, folder: Path) -> list[str]:
    (jamm,) = jars.glob("jamm-*.jar")
    return [
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
        *("-Dcassandra.ring_delay_ms=1000", "-Dcassandra.skip_wait_for_gossip_to_settle=0"),
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
