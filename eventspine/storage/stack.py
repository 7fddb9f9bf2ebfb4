"""How to reach the real stack; promise: one place that names every setting, each with its unit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_TENANT = "default"
"""Whose events are stored where nobody says."""

LOG_PARTITIONS = 16
"""How many log partitions a new keyspace gets, unless its settings say otherwise."""

EVENTS_PER_BUCKET = 100_000
"""How many events of a stream a new keyspace keeps in one partition of its table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files for an encrypted connection.

    Attributes:
        ca_file: Certificates that the server's certificate must descend from, as PEM.
        certificate_file: The client's own certificate, as PEM; None where none is asked for.
        key_file: The key of the client's certificate, as PEM; None where the other file holds it.
        check_hostname: Whether the server's certificate must name the host that was dialled.
    """

    ca_file: Path
    certificate_file: Path | None = None
    key_file: Path | None = None
    check_hostname: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user name and its password, which is never printed.

    Attributes:
        username: Who the process is to the server.
        password: What proves that.
    """

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """How to reach Cassandra and Kafka, and what a new keyspace is made with.

    Attributes:
        contact_points: Cassandra nodes to begin with, `host` or `host:port` each; one or more.
        local_datacenter: The datacenter whose nodes are asked. Empty: the only one that there is.
        keyspace: The keyspace; it is the store.
        replication: How many replicas in each datacenter, for a new keyspace; an existing one must
            have the same. Empty: whatever an existing one has, and for a new one three in the local
            datacenter, or one where that has fewer than three nodes.
        consistency: `QUORUM` (of all datacenters) or `LOCAL_QUORUM` (only where a keyspace is
            written from one datacenter). Fixed when the keyspace is made.
        partitions: How many log partitions. Fixed when the keyspace is made. None: whatever an
            existing one has, and 16 for a new one.
        events_per_bucket: How many events of a stream stand in one Cassandra partition. Fixed when
            the keyspace is made. None: whatever an existing one has, and 100,000 for a new one.
        create_schema: Whether to make what is missing. Without, start-up says what is missing.
        tenant: Whose streams these are; several tenants may share a keyspace.
        cassandra_tls: None for a connection in the clear.
        cassandra_credentials: None where Cassandra asks for none.
        connect_timeout_seconds: How long one attempt to connect may take.
        request_timeout_seconds: After how long a request without an answer counts as failed.
        requests_in_flight_max: How many requests may be on their way to Cassandra at once.
        bootstrap_servers: Kafka brokers to begin with, `host:port` each.
        topic_prefix: What the names of the topics start with; no two tenants may have the same.
            Empty: the keyspace's name, and the tenant's behind it unless that is `default`.
        topic_replication: How many replicas a new topic gets. None: three, or as many as there are
            brokers.
        kafka_tls: None for a connection in the clear.
        kafka_credentials: None where Kafka asks for none.
        kafka_sasl_mechanism: How the credentials are presented: `PLAIN`, `SCRAM-SHA-256` or
            `SCRAM-SHA-512`.
    """

    contact_points: tuple[str, ...] = ("127.0.0.1:9042",)
    local_datacenter: str = ""
    keyspace: str = "eventspine"
    replication: Mapping[str, int] = field(default_factory=dict)
    consistency: str = "QUORUM"
    partitions: int | None = None
    events_per_bucket: int | None = None
    create_schema: bool = True
    tenant: str = ""
    cassandra_tls: Tls | None = None
    cassandra_credentials: Credentials | None = None
    connect_timeout_seconds: float = 10.0
    request_timeout_seconds: float = 10.0
    requests_in_flight_max: int = 512
    bootstrap_servers: tuple[str, ...] = ("127.0.0.1:9092",)
    topic_prefix: str = ""
    topic_replication: int | None = None
    kafka_tls: Tls | None = None
    kafka_credentials: Credentials | None = None
    kafka_sasl_mechanism: str = "SCRAM-SHA-512"
