"""One Kafka broker: its configuration, its command line, and when it is ready."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devstack.stack.child import ChildSpec
from devstack.stack.jars import Release
from devstack.stack.java import QUICK

RELEASE: Final = Release(
    "kafka",
    "4.3.1",
    ("org.apache.kafka:kafka_2.13:4.3.1", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"),
)
HOST: Final = "127.0.0.1"
START_SECONDS: Final = 180.0
STOP_SECONDS: Final = 30.0
HEAP_MIB: Final = 512
SERVING: Final = (
    *(f"-Xms{HEAP_MIB}m", f"-Xmx{HEAP_MIB}m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError"),
)
SHORT_LIVED: Final = ("-Xmx128m", "-XX:+UseSerialGC", *QUICK)
PROPERTIES: Final = "server.properties"
ANSWER_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Broker:
    """Where one broker is; each is a controller too.

    Attributes:
        number: Its id in the cluster, from 1.
        port: Where clients and brokers connect.
        controller_port: Where controllers connect.
    """

    number: int
    port: int
    controller_port: int

    @property
    def name(self) -> str:
        """The name of its process."""
        return f"kafka-{self.number}"


@dataclass(frozen=True, slots=True)
class Brokers:
    """What the brokers of a cluster have in common.

    Attributes:
        cluster_id: 22 characters of base64, by which a broker of another stack is told apart.
        brokers: All of them.
        quick: Whether brokers are to start quickly, rather than to do much a second.
    """

    cluster_id: str
    brokers: tuple[Broker, ...]
    quick: bool


def write_configuration(cluster: Brokers, broker: Broker, *, folder: Path) -> None:
    """Writes a broker's configuration into its folder.

    Args:
        cluster: The cluster.
        broker: One of its brokers.
        folder: The broker's own folder, which exists; its data is or comes into `data` there.
    """
    (folder / PROPERTIES).write_text(_configuration(cluster, broker, folder / "data"))
    (folder / "log4j2.properties").write_text(_LOG4J)


def _java(java: Path, folder: Path, options: tuple[str, ...]) -> tuple[str, ...]:
    """Returns how a command line begins: Java, its options and the jars."""
    return (
        str(java),
        *options,
        f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        *("-cp", f"{RELEASE.folder()}/*"),
    )


def format_spec(cluster: Brokers, broker: Broker, *, java: Path, folder: Path) -> ChildSpec | None:
    """Says how to format a broker's data folder; None when that is done."""
    if (folder / "data" / "meta.properties").exists():
        return None
    tool = ("kafka.tools.StorageTool", "format", "-t", cluster.cluster_id, "-c")
    return ChildSpec(
        name=f"{broker.name}-format",
        argv=(*_java(java, folder, SHORT_LIVED), *tool, str(folder / PROPERTIES)),
        folder=folder,
        ready=_never,
        start_seconds=START_SECONDS,
    )


async def _never() -> bool:
    return False


def broker_spec(cluster: Brokers, broker: Broker, *, java: Path, folder: Path) -> ChildSpec:
    """Says how to run a broker whose data folder is formatted."""
    serving = (*SERVING, *(QUICK if cluster.quick else ()))

    async def ready() -> bool:
        _, writer = await asyncio.open_connection(HOST, broker.port)
        writer.close()
        return await asyncio.to_thread(_answers, cluster, broker)

    return ChildSpec(
        name=broker.name,
        argv=(*_java(java, folder, serving), "kafka.Kafka", str(folder / PROPERTIES)),
        folder=folder,
        ready=ready,
        addresses=((HOST, broker.port), (HOST, broker.controller_port)),
        start_seconds=START_SECONDS,
        stop_seconds=STOP_SECONDS,
    )


def _answers(cluster: Brokers, broker: Broker) -> bool:
    """Tells whether the broker is of this cluster and has joined it."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": f"{HOST}:{broker.port}", "log_level": 0})
    try:
        known = client.list_topics(timeout=ANSWER_SECONDS)
    except KafkaException:
        return False
    return known.cluster_id == cluster.cluster_id and broker.number in known.brokers


def _configuration(cluster: Brokers, broker: Broker, data: Path) -> str:
    # Members of a group learn of a change with their next heartbeat, by default 5 s later, and one
    # that was killed is missed after 45 s.
    count = len(cluster.brokers)
    voters = ",".join(f"{b.number}@{HOST}:{b.controller_port}" for b in cluster.brokers)
    client, controller = f"{HOST}:{broker.port}", f"{HOST}:{broker.controller_port}"
    return f"""\
process.roles=broker,controller
node.id={broker.number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{client},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{client}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={count}
min.insync.replicas={count // 2 + 1}
offsets.topic.replication.factor={count}
transaction.state.log.replication.factor={count}
transaction.state.log.min.isr={count // 2 + 1}
group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=10000
group.consumer.assignment.interval.ms=0
"""


_LOG4J: Final = """\
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %p %d %c{1} - %m%n
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = OUT
"""
