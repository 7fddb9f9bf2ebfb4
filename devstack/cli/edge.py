"""`eventspine edge`: the configuration of both tiers of Envoy, to run them anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devstack.cli.dev import Domains
from devstack.cli.failure import EXIT_USAGE, stop

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    from devstack.edge.settings import Certificates

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Where to write gateway.yaml and load_balancer.yaml.")
]
Commands = Annotated[
    list[str], typer.Option("--command", help="A command service, host:port. Repeat for more.")
]
Queries = Annotated[list[str], typer.Option("--query", help="A query service, likewise.")]
Processors = Annotated[
    list[str], typer.Option("--processor", help="A processor, which answers administrators.")
]
Gateways = Annotated[
    list[str], typer.Option("--gateway", help="A gateway, as the load balancer calls it.")
]
Listen = Annotated[str, typer.Option(help="Where the load balancer listens.")]
GatewayListen = Annotated[str, typer.Option(help="Where a gateway listens.")]
AdminPort = Annotated[int, typer.Option(help="The port of Envoy's admin page, on loopback.")]
Origins = Annotated[
    list[str] | None,
    typer.Option("--origin", help="Pages of such an origin may call: a regular expression."),
]
Inside = Annotated[
    tuple[Path, Path, Path] | None,
    typer.Option(help="TLS behind the load balancer: certificate, key, and who signs all of them."),
]
Public = Annotated[
    tuple[Path, Path] | None, typer.Option(help="TLS for clients: certificate and key.")
]
ServerName = Annotated[
    str, typer.Option(help="The DNS name in the certificates behind the load balancer.")
]


def edge(
    folder: Folder,
    commands: Commands,
    queries: Queries,
    processors: Processors,
    gateways: Gateways,
    listen: Listen = "0.0.0.0:8080",
    gateway_listen: GatewayListen = "0.0.0.0:9090",
    admin_port: AdminPort = 9901,
    origins: Origins = None,
    inside: Inside = None,
    public: Public = None,
    server_name: ServerName = "eventspine.internal",
    domain: Domains = None,
) -> None:
    """Write the configuration of load balancer and gateways, for all that the domains declare.

    Certificates are named in it, and are read by Envoy where it runs.
    """
    from devstack.edge.contract import Kind
    from devstack.edge.render import render_gateway, render_load_balancer
    from devstack.edge.settings import Tier
    from eventspine.rpc.address import AddressError

    contract = _contract(domain or [])
    inner = _certificates(inside, server_name)
    outer = _certificates(public, server_name)
    front = Tier(listen=listen, admin_port=admin_port, listener=outer, upstream=inner)
    behind = Tier(listen=gateway_listen, admin_port=admin_port, listener=inner, upstream=inner)
    services = {
        Kind.COMMAND: tuple(commands),
        Kind.QUERY: tuple(queries),
        Kind.ADMIN: tuple(processors),
    }
    try:
        files = {
            "gateway.yaml": render_gateway(contract, services, behind, origins=origins or ()),
            "load_balancer.yaml": render_load_balancer(contract, tuple(gateways), front),
        }
    except AddressError as error:
        stop(str(error), EXIT_USAGE)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
        typer.echo(folder / name)


def _contract(domain_names: list[str]) -> FileDescriptorSet:
    """Returns the descriptors of the domains that ship and of the named ones.

    Raises:
        CommandLineError: A name does not lead to a domain.
    """
    from devstack.edge.contract import descriptor_set
    from eventspine.process.domains import SHIPPED, DomainNotFoundError, find_domains

    try:
        domains = find_domains((*SHIPPED, *domain_names))
    except DomainNotFoundError as error:
        stop(str(error), EXIT_USAGE)
    return descriptor_set([proto for found in domains for proto in found.protos])


def _certificates(files: tuple[Path, ...] | None, server_name: str) -> Certificates | None:
    """Returns certificate, key and authority, if there is one; None where no files are named."""
    from devstack.edge.settings import Certificates

    if files is None:
        return None
    certificate, key, *authority = files
    return Certificates(
        certificate=certificate,
        key=key,
        authority=authority[0] if authority else None,
        server_name=server_name,
    )
