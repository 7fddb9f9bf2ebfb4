"""How to reach Kafka and what its topics are like; promise: a wrong setting is named with its cure.

The promise of a topic's name lives here too: `<prefix>.<channel>`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from eventspine.storage.errors import BusSetupError
from eventspine.storage.kafka.logs import log
from eventspine.storage.stack import DEFAULT_TENANT, StackSettings

CHANNELS = ("events", "log", "changes")
"""The channels of the bus; each is one topic."""

DAY_SECONDS = 24 * 60 * 60

_PREFIX_LENGTH_MAX = 200
_PREFIX = re.compile(rf"[A-Za-z0-9._-]{{1,{_PREFIX_LENGTH_MAX}}}")
"""What a topic's name may begin with. Source: Kafka's `Topic.validate`, which takes 249 in all."""

_OWN_PREFIXES = ("ssl.", "sasl.", "enable.ssl.", "enable.sasl.", "broker.address.", "socket.")
_OWN_NAMES = ("security.protocol", "client.rack", "client.dns.lookup", "https.ca.location")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """What a bus over Kafka needs to know.

    Attributes:
        bootstrap_servers: `host:port`, several with commas between them.
        prefix: What the names of topics and groups begin with; the keyspace's name by default
            elsewhere.
        partitions: How many partitions each topic has: those of the store's log.
        client: Properties of the driver for the connection, as librdkafka names them:
            `security.protocol`, `sasl.*`, `ssl.*`, `socket.*`. Others are refused.
        create_topics: Whether to create topics that are missing; else they must exist.
        replication: Of topics that are created; None means 3, or as many as there are brokers.
        records_retention_seconds: How long `events` and `log` keep records.
        changes_retention_seconds: How long `changes` keeps changes.
        publish_timeout_seconds: How long a publication may take before it fails.
        start_timeout_seconds: How long the start waits for the brokers.
    """

    bootstrap_servers: str
    prefix: str
    partitions: int = 16
    client: Mapping[str, str] = field(default_factory=dict)
    create_topics: bool = True
    replication: int | None = None
    records_retention_seconds: int = 7 * DAY_SECONDS
    changes_retention_seconds: int = 60 * 60
    publish_timeout_seconds: float = 10.0
    start_timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Refuses properties that would change what the bus promises.

        Raises:
            BusSetupError: A property of `client` is not one for the connection, no server is named,
                or no topic's name can begin with the prefix.
        """
        if not self.bootstrap_servers.strip():
            raise BusSetupError("no bootstrap server of Kafka is named; name one, as host:port")
        for name in self.client:
            if name not in _OWN_NAMES and not name.startswith(_OWN_PREFIXES):
                raise BusSetupError(
                    f"the Kafka property {name!r} is not one for the connection; leave it out; "
                    f"there are: {', '.join((*_OWN_NAMES, *_OWN_PREFIXES))}"
                )
        if not _PREFIX.fullmatch(self.prefix):
            raise BusSetupError(
                f"{self.prefix!r} cannot begin the names of Kafka's topics: they take up to "
                f"{_PREFIX_LENGTH_MAX} letters, digits, '.', '_' and '-'; set a topic prefix"
            )

    def topic(self, channel: str) -> str:
        """Returns the name of a channel's topic.

        Raises:
            ValueError: There is no such channel.
        """
        if channel not in CHANNELS:
            raise ValueError(f"the bus has no channel {channel!r}; it has: {', '.join(CHANNELS)}")
        return f"{self.prefix}.{channel}"

    def retention_ms(self, channel: str) -> int:
        """Returns how long a channel keeps messages, in milliseconds."""
        records = channel != "changes"
        seconds = self.records_retention_seconds if records else self.changes_retention_seconds
        return seconds * 1000

    def properties(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the driver's properties of a connection and those of one client.

        Args:
            more: The client's own.
        """
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": self.prefix,
            # A broker that comes back is found within a second instead of ten.
            "reconnect.backoff.max.ms": 1_000,
            "socket.timeout.ms": 10_000,
            "socket.nagle.disable": True,
            **self.client,
            **more,
        }


def bus_settings(stack: StackSettings, partitions: int) -> KafkaSettings:
    """Returns the bus's part of the settings of a stack.

    Args:
        stack: How to reach the stack.
        partitions: How many log partitions its store has.
    """
    return KafkaSettings(
        bootstrap_servers=",".join(stack.bootstrap_servers),
        prefix=stack.topic_prefix or _prefix(stack.keyspace, stack.tenant),
        partitions=partitions,
        client=dict(_connection(stack)),
        create_topics=stack.create_schema,
        replication=stack.topic_replication,
    )


def _prefix(keyspace: str, tenant: str) -> str:
    """Returns what topics begin with that belong to one tenant alone.

    What is told of a view names no tenant, so two tenants must not meet on one topic.
    """
    return keyspace if tenant in ("", DEFAULT_TENANT) else f"{keyspace}.{tenant}"


def _connection(stack: StackSettings) -> Iterator[tuple[str, str]]:
    """Yields the driver's properties of an encrypted or authenticated connection."""
    tls, credentials = stack.kafka_tls, stack.kafka_credentials
    protocol = "SASL_" if credentials is not None else ""
    yield "security.protocol", f"{protocol}{'PLAINTEXT' if tls is None else 'SSL'}"
    if credentials is not None:
        yield "sasl.mechanism", stack.kafka_sasl_mechanism
        yield "sasl.username", credentials.username
        yield "sasl.password", credentials.password
    if tls is not None:
        yield "ssl.ca.location", str(tls.ca_file)
        yield "ssl.endpoint.identification.algorithm", "https" if tls.check_hostname else "none"
        if tls.certificate_file is not None:
            yield "ssl.certificate.location", str(tls.certificate_file)
            yield "ssl.key.location", str(tls.key_file or tls.certificate_file)


def new_admin(settings: KafkaSettings, more: Mapping[str, Any]) -> AdminClient:
    """Makes a client for topics; nothing is connected yet.

    Raises:
        BusSetupError: The driver refuses a property.
    """
    try:
        return AdminClient(settings.properties(more), logger=log)
    except (KafkaException, ValueError, TypeError) as error:
        raise _refused(error) from error


def new_producer(settings: KafkaSettings, more: Mapping[str, Any]) -> Producer:
    """Makes a producer; nothing is connected yet.

    Raises:
        BusSetupError: The driver refuses a property.
    """
    try:
        return Producer(settings.properties(more), logger=log)
    except (KafkaException, ValueError, TypeError) as error:
        raise _refused(error) from error


def new_consumer(settings: KafkaSettings, more: Mapping[str, Any]) -> Consumer:
    """Makes a consumer; nothing is connected yet.

    Raises:
        BusSetupError: The driver refuses a property.
    """
    try:
        return Consumer(settings.properties(more), logger=log)
    except (KafkaException, ValueError, TypeError) as error:
        raise _refused(error) from error


def _refused(error: Exception) -> BusSetupError:
    return BusSetupError(
        f"the Kafka client refuses its settings ({error}); correct the bootstrap servers, or the "
        "properties of the connection"
    )
