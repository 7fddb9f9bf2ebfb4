"""`eventspine schema`: what a keyspace has to hold, for those who make it themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from devstack.cli.dev import Domains
from devstack.cli.failure import stop


def schema(
    keyspace: Annotated[str, typer.Option(help="The name of the keyspace.")] = "eventspine",
    replication: Annotated[
        str,
        typer.Option(
            metavar="DC=N,...", help="How many replicas in each datacenter, such as dc1=3,dc2=3."
        ),
    ] = "datacenter1=3",
    domain: Domains = None,
) -> None:
    """Print the CQL that makes a keyspace; services without the right to then only check it."""
    from eventspine.domain.declare import declare
    from eventspine.domain.errors import DeclarationError
    from eventspine.process.domains import SHIPPED, DomainNotFoundError, find_domains
    from eventspine.storage.cassandra.migrations import script
    from eventspine.storage.cassandra.view_tables import tables_of
    from eventspine.storage.errors import StackSetupError

    try:
        declared = declare(find_domains((*SHIPPED, *(domain or ()))))
        tables = tables_of(declared.views.values())
    except (DomainNotFoundError, DeclarationError, StackSetupError) as error:
        stop(str(error))
    views = [table.cql for table in tables.values()]
    typer.echo(script(keyspace, _counts(replication), views), nl=False)


def _counts(replication: str) -> dict[str, int]:
    counts = {}
    for part in replication.split(","):
        name, _, count = part.partition("=")
        if not name or not count.isdecimal() or not int(count):
            stop(f"--replication {replication} is not DC=N,...; write it as dc1=3,dc2=3")
        counts[name] = int(count)
    return counts
