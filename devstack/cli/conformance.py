"""`eventspine conformance`: whether what answers at an address keeps the contract."""

from __future__ import annotations

from typing import Annotated

import typer

from devstack.cli.connection import Json, line
from devstack.cli.dev import run_loop
from devstack.cli.failure import EXIT_FOUND, EXIT_REFUSED, EXIT_UNREACHABLE, stop


def conformance(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="What to examine, host:port.")],
    queries: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where its query service listens, if elsewhere."),
    ] = "",
    admin: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where operators' calls go, if elsewhere."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Examine a platform by the rules of the contract; exit with 1 if it breaks one.

    It must host the bank domain. Accounts of the run's own are left in its store.
    """
    from devstack.conformance.suite import NotHostedError, UnreachableError, Verdict, examine

    verdicts: list[Verdict] = []

    async def work() -> None:
        async for verdict in examine(address, queries=queries, admin=admin):
            verdicts.append(verdict)
            if as_json:
                typer.echo(line(verdict._asdict()))
                continue
            typer.echo(f"{'kept  ' if verdict.kept else 'BROKEN'} {verdict.part}: {verdict.rule}")
            if not verdict.kept:
                typer.echo(f"       {verdict.found}")

    try:
        run_loop(work())
    except UnreachableError as error:
        stop(str(error), EXIT_UNREACHABLE)
    except NotHostedError as error:
        stop(str(error), EXIT_REFUSED)
    broken = sum(not verdict.kept for verdict in verdicts)
    seconds = sum(verdict.seconds for verdict in verdicts)
    if as_json:
        summary = {"rules": len(verdicts), "broken": broken, "seconds": round(seconds, 3)}
        typer.echo(line(summary))
    else:
        kept = f"{len(verdicts) - broken} of {len(verdicts)} rules are kept"
        typer.echo(f"{kept} at {address} ({seconds:.1f} s)")
    if broken:
        raise typer.Exit(EXIT_FOUND)
