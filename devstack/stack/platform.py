"""The services and gateways of a stack beside its servers; promise: one address for clients."""

from collections.abc import Sequence
from typing import Final

from devstack.edge.contract import descriptor_set
from devstack.stack.gateways import gateways
from devstack.stack.ports import check_free, free_port
from devstack.stack.servers import Servers
from devstack.stack.services import Instances, services
from eventspine.process.domains import SHIPPED, find_domains
from eventspine.rpc.address import split_address

ADDRESS: Final = "127.0.0.1:7070"
"""Where the command line and the client look for a platform."""


def front_address(address: str) -> str:
    """Returns the address where clients will call, with a port that is free now.

    Args:
        address: `host:port`; port 0 picks a free one.

    Raises:
        AddressError: It is no address.
        AddressTakenError: Something listens there.
    """
    host, port = split_address(address)
    if port == 0:
        return f"{host}:{free_port([host], besides=set())}"
    check_free("the load balancer", host, port)
    return address


async def run_platform(
    servers: Servers, instances: Instances, *, address: str, domains: Sequence[str] = SHIPPED
) -> None:
    """Starts services and gateways as children of started servers; returns when calls are answered.

    Args:
        servers: Running servers, which stop these too.
        instances: How many processes of each service.
        address: Where clients call, as `front_address` returns it.
        domains: The domains to host, each `module:ATTRIBUTE`.

    Raises:
        DomainNotFoundError: A domain is not there. Nothing was started.
        AddressTakenError: A port is taken. What was started goes on until the servers stop.
        EnvoyMissingError: There is no Envoy. The services go on until the servers stop.
        ChildFailedError: A process failed; the text has its log's tail. As above.
    """
    protos = [proto for domain in find_domains(domains) for proto in domain.protos]
    contract = descriptor_set(protos)
    running = services(settings_for(servers, domains), instances, servers.home.room)
    await servers.run(running.specs)
    before = gateways(contract, running.addresses, address, servers.home.room)
    await servers.run(before.gateways)
    await servers.run([before.load_balancer])


def settings_for(servers: Servers, domains: Sequence[str] = SHIPPED) -> dict[str, str]:
    """Returns the settings of services on some servers, by their names in the environment."""
    return {
        "EVENTSPINE_CONTACT_POINTS": ",".join(servers.contact_points),
        "EVENTSPINE_BOOTSTRAP_SERVERS": servers.bootstrap,
        "EVENTSPINE_TOPIC_REPLICATION": str(len(servers.bootstrap.split(","))),
        "EVENTSPINE_DOMAINS": ",".join(domains),
    }
