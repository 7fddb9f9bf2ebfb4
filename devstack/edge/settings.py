"""What the edge is told: where services are, certificates, limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack.edge.contract import Kind

Addresses = tuple[str, ...]
"""`host:port` each; a name that DNS resolves to several addresses counts as all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files in PEM form of one side of a TLS connection.

    Attributes:
        certificate: Who this side is, with the chain up to the authority.
        key: The certificate's private key.
        authority: Who has to have signed the other side's certificate. None takes any caller, which
            is for the address that clients use.
        server_name: The DNS name that a service's certificate has to carry.
    """

    certificate: Path
    key: Path
    authority: Path | None = None
    server_name: str = "eventspine.internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one gateway lets through, and one load balancer.

    Attributes:
        connections: Connections of callers.
        streams: Calls at once on one connection of a caller.
        requests: Unary calls under way to the instances of one kind of service, and streams
            likewise. Beyond, a call is refused with RESOURCE_EXHAUSTED.
        rates: Calls a second to each service, by kind; each streaming method has as many begins a
            second of its own. At least 10.
    """

    connections: int = 10_000
    streams: int = 1_000
    requests: int = 2_000
    rates: Mapping[Kind, int] = field(
        default_factory=lambda: {Kind.COMMAND: 20_000, Kind.QUERY: 20_000, Kind.ADMIN: 100}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """What both tiers are told.

    Attributes:
        listen: Where to listen, `host:port`; port 0 takes a free one.
        admin_port: The port of the admin page, on loopback; 0 takes a free one.
        access_log: Where the access log goes; a file, or `/dev/stdout`.
        listener: The certificates of this side for its callers; None listens without TLS.
        upstream: The certificates of this side for those that it calls; None calls without TLS.
        limits: What it lets through.
    """

    listen: str = "127.0.0.1:0"
    admin_port: int = 0
    access_log: str = "/dev/stdout"
    listener: Certificates | None = None
    upstream: Certificates | None = None
    limits: Limits = Limits()


LOOPBACK_ORIGINS = (r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?",)
"""Pages of this machine, for development."""
