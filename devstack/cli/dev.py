"""`eventspine dev`: the whole platform in one process."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devstack.cli.connection import DEFAULT_ADDRESS
from devstack.cli.failure import EXIT_UNREACHABLE, EXIT_USAGE, stop
from devstack.cli.lazy import lazily

if TYPE_CHECKING:
    import asyncio

    from devstack.edge.tiers import Edge
    from devstack.embedded import Embedded
    from eventspine.domain.domain import Domain
else:
    asyncio = lazily("asyncio")

Domains = Annotated[
    list[str] | None,
    typer.Option("--domain", help="Host this domain too, as module:ATTRIBUTE. Repeat for more."),
]


class LogLevel(StrEnum):
    """From which level on log lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def dev(
    db: Annotated[
        Path | None, typer.Option(help="Keep everything in this SQLite file; else in memory.")
    ] = None,
    address: Annotated[
        str,
        typer.Option(
            envvar="EVENTSPINE_ADDRESS", help="Where to listen, host:port; port 0 picks a free one."
        ),
    ] = DEFAULT_ADDRESS,
    domain: Domains = None,
    tenant: Annotated[str, typer.Option(help="The tenant that events are stored for.")] = "default",
    log_level: Annotated[
        LogLevel,
        typer.Option(
            help="Log lines from here on, as JSON on standard error; info has each refusal."
        ),
    ] = LogLevel.WARNING,
    envoy: Annotated[
        bool,
        typer.Option("--envoy", help="Put both tiers of Envoy in front: JSON and browsers, too."),
    ] = False,
) -> None:
    """Run commands, processor and queries in one process, until Ctrl-C."""
    from devstack.embedded import Embedded
    from eventspine.rpc import logs

    began = time.perf_counter()
    logs.configure(logging.getLevelNamesMapping()[log_level.upper()])
    behind = "127.0.0.1:0" if envoy else address
    run_loop(
        _serve(
            lambda domains: Embedded(domains, db=db, address=behind, tenant=tenant),
            domain or [],
            front=address if envoy else None,
            kept=_kept(db),
            began=began,
        )
    )


def run_loop(work: Coroutine[None, None, None]) -> None:
    """Runs a coroutine to its end on the fastest event loop at hand.

    Raises:
        CommandLineError: For what is wrong outside of the platform: a domain, a file, an address.
    """
    from devstack.edge.binary import EnvoyNotFoundError
    from devstack.edge.process import EnvoyFailedError
    from eventspine.domain.errors import DeclarationError
    from eventspine.process.domains import DomainNotFoundError
    from eventspine.process.loop import loop_factory, settle_collector
    from eventspine.rpc.address import AddressError
    from eventspine.rpc.host import PortTakenError
    from eventspine.storage.errors import OwnedError, StoreFormatError

    usage = (
        AddressError,
        DeclarationError,
        DomainNotFoundError,
        EnvoyNotFoundError,
        StoreFormatError,
    )
    settle_collector()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(work)
    except usage as error:
        stop(str(error), EXIT_USAGE)
    except (PortTakenError, OwnedError, EnvoyFailedError) as error:
        stop(str(error), EXIT_UNREACHABLE)


async def _serve(
    prepare: Callable[[Sequence[Domain]], Embedded],
    domain_names: list[str],
    *,
    front: str | None,
    kept: str,
    began: float,
) -> None:
    from devstack.stubs import newer_proto
    from eventspine.process.domains import SHIPPED, find_domains

    # From here on, so that a signal during the start is not lost, and ends in the same order.
    stopped = _stop_signal()
    domains = find_domains((*SHIPPED, *domain_names))
    if domain_names and (proto := newer_proto(Path())) is not None:
        text = "is newer than its stubs, which are hosted; make them anew: python -m devstack.stubs"
        typer.echo(f"warning: {proto} {text}", err=True)
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(prepare(domains))
        address = platform.address
        notes = [
            kept,
            "  commands, queries, subscriptions, admin, health and reflection: one address",
        ]
        if front is not None:
            edge = await stack.enter_async_context(_edge(domains, platform.address, front))
            address = edge.address
            notes += _edge_notes(edge)
        names = ", ".join(domain.name for domain in domains)
        typer.echo(f"eventspine listens on {address} (domains: {names})")
        for line in notes:
            typer.echo(line)
        typer.echo("try, in another terminal:")
        for example in _examples(address):
            typer.echo(f"  {example}")
        typer.echo(f"ready after {time.perf_counter() - began:.2f} s; Ctrl-C stops")
        await stopped.wait()
        typer.echo("stopping")


def _edge(domains: Sequence[Domain], platform: str, front: str) -> Edge:
    """Returns both tiers in front of a platform; their files stay in a new folder."""
    import tempfile

    from devstack.edge.contract import Kind, descriptor_set
    from devstack.edge.settings import Tier
    from devstack.edge.tiers import Edge

    contract = descriptor_set([proto for domain in domains for proto in domain.protos])
    services = dict.fromkeys(Kind, (platform,))
    folder = Path(tempfile.mkdtemp(prefix="eventspine-envoy-"))
    return Edge(contract, services, folder, front=Tier(listen=front))


def _edge_notes(edge: Edge) -> list[str]:
    gateways = ", ".join(process.address for process in edge.gateways)
    return [
        f"  behind Envoy: a load balancer, then gateways on {gateways}",
        "  gRPC, gRPC-Web, JSON as POST /package.Service/Method, streams as one JSON object a line",
        f"  access logs and configurations: {edge.load_balancer.folder.parent}",
    ]


def _kept(db: Path | None) -> str:
    if db is None:
        return "  everything is in memory and gone when this ends; keep it with --db FILE"
    return f"  everything is kept in {db}"


def _examples(address: str) -> list[str]:
    option = "" if address == DEFAULT_ADDRESS else f" --address {address}"
    account = '{"account_id": "alice", "owner": "Alice"}'
    return [
        f"eventspine tail --from beginning{option}",
        f"eventspine send bank.v1.OpenAccountRequest '{account}'{option}",
        f"eventspine rows bank.v1.AccountBalance{option}",
    ]


def _stop_signal() -> asyncio.Event:
    """Returns what is set when the process is asked to stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    return stopped
