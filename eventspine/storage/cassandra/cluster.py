"""Connects to a Cassandra cluster; promise: it works as it is set up, or one error says why not."""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from socket import IPPROTO_TCP, TCP_NODELAY

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    ProtocolVersion,
    UnresolvableContactPoints,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    Session,
)
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
)
from cassandra.query import tuple_factory

from eventspine.storage.cassandra.loop_connection import LoopConnection
from eventspine.storage.errors import StackSetupError
from eventspine.storage.stack import StackSettings, Tls

CONSISTENCIES = {
    "QUORUM": (ConsistencyLevel.QUORUM, ConsistencyLevel.SERIAL),
    "LOCAL_QUORUM": (ConsistencyLevel.LOCAL_QUORUM, ConsistencyLevel.LOCAL_SERIAL),
}
"""By the name of the setting, the consistency of reads and writes and that of conditions."""

_PORT = 9042
_HEARTBEAT_SECONDS = 5
_RECONNECT_SECONDS_MAX = 5.0


async def connect(settings: StackSettings) -> Session:
    """Opens a session of the driver on this event loop; to be closed by `disconnect`.

    Raises:
        StackSetupError: No contact point can be reached, they refuse the credentials, or the
            datacenter does not exist.
    """
    points = ", ".join(settings.contact_points)
    if settings.consistency not in CONSISTENCIES:
        raise StackSetupError(
            f"consistency {settings.consistency!r} is not {' or '.join(CONSISTENCIES)}; correct it"
        )
    connections = LoopConnection.on(asyncio.get_running_loop())
    try:
        cluster = await asyncio.to_thread(_cluster, settings, connections)
    except UnresolvableContactPoints as error:
        raise StackSetupError(
            f"no contact point of Cassandra has an address: {points}; correct the contact points"
        ) from error
    try:
        with _quiet():
            return await asyncio.to_thread(_connect, cluster, settings, points)
    except BaseException:
        await asyncio.to_thread(cluster.shutdown)
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the driver from logging, with tracebacks, what our own error says in a line."""
    log = logging.getLogger("cassandra.cluster")

    def drop(record: logging.LogRecord) -> bool:
        return False

    log.addFilter(drop)
    try:
        yield
    finally:
        log.removeFilter(drop)


async def disconnect(session: Session) -> None:
    """Ends a session with its connections; what is on its way fails."""
    await asyncio.to_thread(session.cluster.shutdown)


def _cluster(settings: StackSettings, connections: type[LoopConnection]) -> Cluster:
    consistency, serial = CONSISTENCIES[settings.consistency]
    credentials = settings.cassandra_credentials
    return Cluster(
        contact_points=[_address(point) for point in settings.contact_points],
        # What the driver itself sends is statements to prepare and changes of the schema; the rest
        # goes by `Wire`, which sends nothing twice.
        execution_profiles={
            EXEC_PROFILE_DEFAULT: ExecutionProfile(
                load_balancing_policy=DCAwareRoundRobinPolicy(settings.local_datacenter),
                retry_policy=FallthroughRetryPolicy(),
                consistency_level=consistency,
                serial_consistency_level=serial,
                request_timeout=settings.request_timeout_seconds,
                row_factory=tuple_factory,
            )
        },
        auth_provider=credentials
        and PlainTextAuthProvider(credentials.username, credentials.password),
        ssl_context=settings.cassandra_tls and _tls(settings.cassandra_tls),
        connection_class=connections,
        protocol_version=ProtocolVersion.V5,
        compression=False,
        sockopts=[(IPPROTO_TCP, TCP_NODELAY, 1)],
        connect_timeout=settings.connect_timeout_seconds,
        control_connection_timeout=settings.connect_timeout_seconds,
        idle_heartbeat_interval=_HEARTBEAT_SECONDS,
        idle_heartbeat_timeout=_HEARTBEAT_SECONDS,
        reconnection_policy=ExponentialReconnectionPolicy(0.2, _RECONNECT_SECONDS_MAX),
        schema_metadata_enabled=False,
        monitor_reporting_enabled=False,
        application_name="eventspine",
    )


def _address(point: str) -> tuple[str, int]:
    """Splits `host`, `host:port` or `[v6]:port`.

    Raises:
        StackSetupError: It is none of these.
    """
    host, colon, port = point.rpartition(":")
    if not colon or point.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = point, str(_PORT)
    if not host or not port.isdecimal():
        raise StackSetupError(f"contact point {point!r} is not host or host:port; correct it")
    return host.strip("[]"), int(port)


def _tls(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.certificate_file is not None:
            context.load_cert_chain(tls.certificate_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise StackSetupError(f"the TLS files for Cassandra cannot be used: {error}") from error
    context.check_hostname = tls.check_hostname
    return context


def _connect(cluster: Cluster, settings: StackSettings, points: str) -> Session:
    wanted = settings.local_datacenter
    session = None
    try:
        session = cluster.connect(wait_for_all_pools=True)
    except (NoHostAvailable, OSError) as error:
        # A datacenter that does not exist also ends here, once the nodes are known.
        if not nodes_of(cluster):
            raise _no_connection(error, settings, points) from error
    datacenters = nodes_of(cluster)
    found = ", ".join(sorted(datacenters))
    if wanted and wanted not in datacenters:
        raise StackSetupError(
            f"the cluster has no datacenter {wanted!r}; correct local_datacenter (it has: {found})"
        )
    if not wanted and len(datacenters) > 1:
        raise StackSetupError(
            f"the cluster has several datacenters; set local_datacenter to one of: {found}"
        )
    if session is None:
        raise StackSetupError(f"no node of Cassandra takes connections; asked: {points}")
    return session


def nodes_of(cluster: Cluster) -> Counter[str]:
    """Counts the nodes of each datacenter, those included that are down."""
    return Counter(host.datacenter for host in cluster.metadata.all_hosts() if host.datacenter)


def _no_connection(error: Exception, settings: StackSettings, points: str) -> StackSetupError:
    causes = list(getattr(error, "errors", {}).values()) or [error]
    for cause in causes:
        if isinstance(cause, AuthenticationFailed):
            if settings.cassandra_credentials is None:
                return StackSetupError(
                    f"Cassandra at {points} asks for credentials; set"
                    " cassandra_credentials_username and cassandra_credentials_password"
                )
            return StackSetupError(
                f"Cassandra at {points} refuses the credentials; correct them ({cause})"
            )
    words = "; ".join(sorted({str(cause) or type(cause).__name__ for cause in causes}))
    return StackSetupError(
        f"Cassandra cannot be reached at {points}: {words}; start it, or correct the contact points"
        " and the TLS settings"
    )
