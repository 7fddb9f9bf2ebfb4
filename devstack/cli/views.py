"""`eventspine rows` and `eventspine views …`: rows of views, and the life of their builds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devstack.cli.connection import (
    DEFAULT_ADDRESS,
    Address,
    Json,
    Messages,
    as_data,
    connected,
    line,
)
from devstack.cli.failure import EXIT_FOUND
from devstack.cli.lazy import lazily

if TYPE_CHECKING:
    from eventspine.v1 import admin_pb2, admin_pb2_grpc, query_pb2, query_pb2_grpc
else:
    admin_pb2 = lazily("eventspine.v1.admin_pb2")
    admin_pb2_grpc = lazily("eventspine.v1.admin_pb2_grpc")
    query_pb2 = lazily("eventspine.v1.query_pb2")
    query_pb2_grpc = lazily("eventspine.v1.query_pb2_grpc")

View = Annotated[str, typer.Argument(help="The full name of the row message.")]
Build = Annotated[int, typer.Argument(min=1, help="The build's number.")]
BuildOption = Annotated[int, typer.Option("--build", min=0, help="0 means the one that serves.")]

POLL_SECONDS = 0.2

DIFFERENCES_SHOWN = 20
"""How many rows that differ are shown at most; all are counted."""

app = typer.Typer(invoke_without_command=True, help="List views, and build, switch, retire them.")


def rows(
    view: View,
    key: Annotated[list[str] | None, typer.Argument(help="Leading values of the key.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0 for all.")] = 0,
    build: BuildOption = 0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Print the rows of a view, in order of their key."""
    request = query_pb2.ListRowsRequest(view=view, key_prefix=key or [], limit=limit, build=build)
    with connected(address) as channel:
        messages = Messages(channel)
        for batch in query_pb2_grpc.QueryServiceStub(channel).ListRows(request):
            for packed in batch.rows:
                typer.echo(line(messages.any_data(packed)) if as_json else _row(messages, packed))


def _row(messages: Messages, packed: Any) -> str:
    fields = messages.any_data(packed)
    return "  ".join(f"{name}={_value(value)}" for name, value in fields.items())


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


@app.callback()
def views(
    context: typer.Context, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """List every view with its builds and how far they have come."""
    if context.invoked_subcommand is not None:
        return
    with connected(address) as channel:
        reply = admin_pb2_grpc.AdminServiceStub(channel).ListViews(admin_pb2.ListViewsRequest())
    for status in reply.views:
        _print_status(status, as_json)


def _print_status(status: admin_pb2.ViewStatus, as_json: bool) -> None:
    if as_json:
        typer.echo(line(as_data(status)))
        return
    typer.echo(status.view)
    for build in status.builds:
        typer.echo("  " + _build_line(build))


def _build_line(build: admin_pb2.ViewBuild) -> str:
    name = admin_pb2.BuildState.Name(build.state).removeprefix("BUILD_STATE_").lower()
    marks = [
        mark
        for mark, shown in (
            ("paused", build.paused),
            (f"{build.parked_keys} keys parked", build.parked_keys),
            ("frozen: its code is not in this process", not build.code_present),
        )
        if shown
    ]
    progress = ", ".join(f"{place.partition}:{place.sequence}" for place in build.progress)
    return (
        f"build {build.build}  code {build.code_version}  {name:<8}  at {progress}  "
        f"{build.lag_events} events behind" + "".join(f"  [{mark}]" for mark in marks)
    )


def _change(
    address: str, call: Callable[[admin_pb2_grpc.AdminServiceStub], Any], as_json: bool
) -> None:
    """Makes one change and prints the view after it."""
    with connected(address) as channel:
        _print_status(call(admin_pb2_grpc.AdminServiceStub(channel)).view, as_json)


@app.command()
def build(
    view: View,
    code_version: Annotated[int, typer.Option(min=0, help="0 means the newest declared.")] = 0,
    wait: Annotated[bool, typer.Option(help="Show its progress until it is ready.")] = True,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Start a new build of a view beside the one that serves."""
    with connected(address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        request = admin_pb2.BuildViewRequest(view=view, code_version=code_version)
        started = stub.BuildView(request).build
        if wait:
            started = _wait_ready(stub, view, started)
    if as_json:
        typer.echo(line({"view": view, **as_data(started)}))
    else:
        typer.echo(_build_line(started))


def _wait_ready(
    stub: admin_pb2_grpc.AdminServiceStub, view: str, started: admin_pb2.ViewBuild
) -> admin_pb2.ViewBuild:
    import time

    from devstack.progress_bar import progress_bar

    total = started.lag_events + sum(place.sequence for place in started.progress)
    with progress_bar(f"build {started.build} of {view}", total) as bar:
        while True:
            reply = stub.ListViews(admin_pb2.ListViewsRequest(view=view))
            now = next(b for b in reply.views[0].builds if b.build == started.build)
            bar.at(sum(place.sequence for place in now.progress))
            if now.state != admin_pb2.BUILD_STATE_BUILDING or now.paused:
                return now
            time.sleep(POLL_SECONDS)


@app.command()
def compare(
    view: View,
    build: Build,
    at_once: Annotated[
        int, typer.Option(min=1, help="How many keys: both builds stand still for so many.")
    ] = 50_000,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Compare a build with the one that serves; exit with 1 when any row differs."""
    with connected(address) as channel:
        request = admin_pb2.CompareViewRequest(view=view, build=build, limit=at_once)
        found = _compared(admin_pb2_grpc.AdminServiceStub(channel), request)
    if as_json:
        typer.echo(line(_whole(found)))
    else:
        typer.echo(
            f"{found.same} rows are the same, {found.different} differ, {found.only_serving} only "
            f"in the serving build, {found.only_compared} only in build {build}"
        )
        for row in found.differences:
            typer.echo(f"  {row.key_json}\n    serving:  {row.serving_json or '-'}")
            typer.echo(f"    build {build}:  {row.compared_json or '-'}")
    if found.different or found.only_serving or found.only_compared:
        raise typer.Exit(EXIT_FOUND)


def _compared(
    stub: admin_pb2_grpc.AdminServiceStub, request: admin_pb2.CompareViewRequest
) -> admin_pb2.CompareViewResponse:
    """Compares part by part; returns what all found together, with the last one's place."""
    from devstack.progress_bar import progress_bar

    found = admin_pb2.CompareViewResponse()
    with progress_bar(f"compare build {request.build} of {request.view}", None) as bar:
        while True:
            part = stub.CompareView(request)
            bar.advance(part.same + part.different + part.only_serving + part.only_compared)
            found.same += part.same
            found.different += part.different
            found.only_serving += part.only_serving
            found.only_compared += part.only_compared
            found.differences.extend(part.differences[: DIFFERENCES_SHOWN - len(found.differences)])
            if not part.reached_key_json:
                found.compared_at.extend(part.compared_at)
                return found
            request.after_key_json = part.reached_key_json


def _whole(
    answer: admin_pb2.CompareViewResponse | admin_pb2.RetryParkedResponse,
) -> dict[str, Any]:
    """Returns what all parts found or did, as data; there is no place to go on from."""
    fields = as_data(answer)
    del fields["reached_key_json"]
    return fields


@app.command()
def switch(
    view: View, build: Build, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Let a build serve that has caught up; the one before is kept."""
    request = admin_pb2.SwitchViewRequest(view=view, build=build)
    _change(address, lambda stub: stub.SwitchView(request), as_json)


@app.command("roll-back")
def roll_back(view: View, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Let the build serve again that served before."""
    request = admin_pb2.RollBackViewRequest(view=view)
    _change(address, lambda stub: stub.RollBackView(request), as_json)


@app.command()
def retire(
    view: View, build: Build, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Delete a build that does not serve, with its rows."""
    request = admin_pb2.RetireViewRequest(view=view, build=build)
    _change(address, lambda stub: stub.RetireView(request), as_json)


@app.command()
def pause(
    view: View, build: BuildOption = 0, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Stop folding events into a build."""
    request = admin_pb2.PauseViewRequest(view=view, build=build)
    _change(address, lambda stub: stub.PauseView(request), as_json)


@app.command()
def resume(
    view: View, build: BuildOption = 0, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Go on folding events into a paused build."""
    request = admin_pb2.ResumeViewRequest(view=view, build=build)
    _change(address, lambda stub: stub.ResumeView(request), as_json)


@app.command()
def parked(
    view: View, build: BuildOption = 0, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """List the keys that wait because an event could not be applied; exit with 1 if any."""
    with connected(address) as channel:
        request = admin_pb2.ListParkedRequest(view=view, build=build)
        keys = admin_pb2_grpc.AdminServiceStub(channel).ListParked(request).parked
    for key in keys:
        typer.echo(line(as_data(key)) if as_json else _parked_line(key))
    if keys:
        raise typer.Exit(EXIT_FOUND)
    if not as_json:
        typer.echo("no key is parked")


def _parked_line(key: admin_pb2.ParkedKey) -> str:
    count = f"{key.waiting_events} or more" if key.more_waiting else f"{key.waiting_events}"
    return (
        f"{key.key_json}  {count} events wait from "
        f"{key.stream}@{key.stream_version} on: {key.error}"
    )


@app.command()
def retry(
    view: View,
    key_json: Annotated[str, typer.Argument(metavar="[KEY]", help="As `parked` prints it.")] = "",
    build: BuildOption = 0,
    at_once: Annotated[
        int, typer.Option(min=1, help="How many keys: the build stands still for so many.")
    ] = 2_000,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Apply the waiting events of parked keys again; exit with 1 when some stay parked."""
    request = admin_pb2.RetryParkedRequest(view=view, build=build, key_json=key_json, limit=at_once)
    with connected(address) as channel:
        done = _retried(admin_pb2_grpc.AdminServiceStub(channel), request)
    if as_json:
        typer.echo(line(_whole(done)))
    else:
        typer.echo(f"{done.released_keys} keys released, {done.parked_keys} still parked")
    if done.parked_keys:
        raise typer.Exit(EXIT_FOUND)


def _retried(
    stub: admin_pb2_grpc.AdminServiceStub, request: admin_pb2.RetryParkedRequest
) -> admin_pb2.RetryParkedResponse:
    """Tries part by part; returns what all did together."""
    from devstack.progress_bar import progress_bar

    (view,) = stub.ListViews(admin_pb2.ListViewsRequest(view=request.view)).views
    total = (
        1
        if request.key_json
        else sum(build.parked_keys for build in view.builds if _is_meant(build, request.build))
    )
    released = done = 0
    with progress_bar(f"retry parked keys of {request.view}", total) as bar:
        while True:
            part = stub.RetryParked(request)
            released += part.released_keys
            done = min(done + request.limit, total)
            bar.at(done)
            if not part.reached_key_json:
                part.released_keys = released
                return part
            request.after_key_json = part.reached_key_json


def _is_meant(build: admin_pb2.ViewBuild, number: int) -> bool:
    """Tells whether a number names a build; 0 names the one that serves."""
    return build.build == number if number else build.state == admin_pb2.BUILD_STATE_SERVING
