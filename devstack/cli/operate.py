"""`eventspine verify`, `audit`, `doctor`, `new`, `import`: to keep it well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devstack.cli.connection import DEFAULT_ADDRESS, Address, Json, as_data, connected, line
from devstack.cli.dev import run_loop
from devstack.cli.failure import EXIT_FOUND, EXIT_UNREACHABLE, stop
from devstack.cli.lazy import lazily

if TYPE_CHECKING:
    from eventspine.v1 import admin_pb2, admin_pb2_grpc
else:
    admin_pb2 = lazily("eventspine.v1.admin_pb2")
    admin_pb2_grpc = lazily("eventspine.v1.admin_pb2_grpc")

_MARKS = {"ok": "ok     ", "missing": "MISSING", "note": "note   ", "warning": "WARNING"}

imports = typer.Typer(no_args_is_help=True, help="Bring real data into a platform.")


def verify(
    stream: Annotated[str, typer.Argument(help="Only this stream; else all.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Recompute the hash chains; exit with 1 and name the first bad event if one was changed."""
    from devstack.progress_bar import progress_bar

    with connected(address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        ends = stub.GetStatus(admin_pb2.GetStatusRequest()).ends
        total = 0 if stream else sum(end.sequence for end in ends)
        last = admin_pb2.VerifyResponse()
        with progress_bar("verify", total) as bar:
            for last in stub.Verify(admin_pb2.VerifyRequest(stream=stream)):
                bar.at(last.records)
    if as_json:
        typer.echo(line(as_data(last)))
    else:
        for broken in last.breaks:
            typer.echo(f"{broken.stream}@{broken.stream_version}: {broken.problem}")
        sound = f"{last.records:,} events are as they were stored; streams: {last.streams:,}"
        typer.echo(f"{sound}, of which changed: {len(last.breaks)}" if last.breaks else sound)
    if last.breaks:
        raise typer.Exit(EXIT_FOUND)


def audit(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Compare store and log now; exit with 1 if an event was missing from the log."""
    from devstack.progress_bar import progress_bar

    with connected(address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        # How many there are was counted when they were compared the last time.
        known = stub.GetAuditStatus(admin_pb2.GetAuditStatusRequest()).streams
        last = admin_pb2.AuditResponse()
        with progress_bar("audit", known) as bar:
            for last in stub.Audit(admin_pb2.AuditRequest()):
                bar.at(last.streams)
    if as_json:
        typer.echo(line(as_data(last)))
    else:
        for lacking in last.missing:
            typer.echo(
                f"{lacking.stream}@{lacking.first_version}-{lacking.last_version}: was not in the"
                " log"
            )
        for broken in last.breaks:
            typer.echo(f"{broken.stream}@{broken.stream_version}: {broken.problem}")
        typer.echo(_verdict(last))
    if last.missing_records or last.breaks or not last.complete:
        raise typer.Exit(EXIT_FOUND)


def _verdict(last: admin_pb2.AuditResponse) -> str:
    """Says in a sentence what an audit has found."""
    begun = last.begin_time.ToDatetime().isoformat(sep=" ", timespec="seconds")
    if last.complete:
        verdict = f"all that was stored before {begun} UTC is in the log"
    else:
        verdict = "not all that is stored is in the log"
    found = f"streams: {last.streams:,}, chains recomputed: {last.chains:,}"
    if last.missing_records:
        found += f"; missing: {last.missing_records:,}, sent again: {last.republished_records:,}"
    return f"{verdict} ({found})"


def doctor(
    db: Annotated[Path | None, typer.Option(help="Look at this SQLite file too.")] = None,
    stack: Annotated[
        bool, typer.Option("--stack", help="Count as missing what only the real stack needs.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Check what this machine has, and say what is missing and how to get it."""
    from devstack.doctor import examine

    findings = examine(address=address, db=db, stack=stack)
    for finding in findings:
        if as_json:
            typer.echo(line(finding._asdict()))
        else:
            typer.echo(f"{_MARKS[finding.verdict]} {finding.subject}: {finding.text}")
    if any(finding.verdict == "missing" for finding in findings):
        raise typer.Exit(EXIT_FOUND)


def new(
    name: Annotated[str, typer.Argument(help="The domain's name, such as `shop`.")],
    target: Annotated[
        Path | None, typer.Option("--dir", help="Where to; else a folder of its name here.")
    ] = None,
) -> None:
    """Write a small working domain: protos, aggregate, view, and tests that pass."""
    from devstack.new_domain import NewDomainError, create_domain

    folder = target or Path(name)
    try:
        written = create_domain(name, folder)
    except NewDomainError as error:
        stop(str(error))
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f"try it:  cd {folder} && python -m pytest")
    typer.echo(
        f"run it:  cd {folder} && eventspine dev --domain {name}_domain.domain:{name.upper()}"
    )


@imports.command()
def flights(
    days: Annotated[int, typer.Option(min=1, max=365, help="How many days of 2013.")] = 14,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Replay real flights from New York in 2013 through the command service."""
    from devstack.flights_data import FlightsNotFoundError
    from devstack.replay import replay_flights
    from eventspine.client.errors import CallError

    async def work() -> None:
        try:
            done = await replay_flights(address, days)
        except FlightsNotFoundError as error:
            stop(str(error))
        except CallError as error:
            stop(f"the replay broke off, and can be begun again: {error}", EXIT_UNREACHABLE)
        if as_json:
            typer.echo(line(done._asdict()))
        else:
            typer.echo(
                f"{done.commands:,} commands in {done.seconds:.1f} s "
                f"({done.commands / done.seconds:,.0f}/s): {done.stored:,} stored, "
                f"{done.replayed:,} stored before, {done.failed:,} refused"
            )
        if done.failed:
            raise typer.Exit(EXIT_FOUND)

    # Fails in a sentence when nothing listens, before the data is read.
    with connected(address):
        pass
    run_loop(work())
