"""`eventspine read`, `tail`, `append`, `send`, `state`: streams and events."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devstack.cli.connection import DEFAULT_ADDRESS, Address, Json, Messages, connected, line
from devstack.cli.failure import EXIT_REFUSED, stop
from devstack.cli.lazy import lazily

if TYPE_CHECKING:
    import grpc
    from google.protobuf.timestamp_pb2 import Timestamp

    from eventspine.v1 import (
        command_pb2,
        command_pb2_grpc,
        query_pb2,
        query_pb2_grpc,
        record_pb2,
        subscription_pb2,
    )
else:
    command_pb2 = lazily("eventspine.v1.command_pb2")
    command_pb2_grpc = lazily("eventspine.v1.command_pb2_grpc")
    query_pb2 = lazily("eventspine.v1.query_pb2")
    query_pb2_grpc = lazily("eventspine.v1.query_pb2_grpc")
    record_pb2 = lazily("eventspine.v1.record_pb2")
    subscription_pb2 = lazily("eventspine.v1.subscription_pb2")

Stream = Annotated[str, typer.Argument(help="The stream, `category/id`.")]


def read(
    stream: Stream,
    from_version: Annotated[
        int | None, typer.Option("--from", min=1, help="First version.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0 for all.")] = 0,
    backwards: Annotated[bool, typer.Option("--backwards", help="Newest first.")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Print the events of one stream."""
    direction = query_pb2.DIRECTION_BACKWARDS if backwards else query_pb2.DIRECTION_FORWARDS
    request = query_pb2.ReadStreamRequest(
        stream=stream, from_version=from_version, direction=direction, limit=limit
    )
    with connected(address) as channel:
        messages = Messages(channel)
        for batch in query_pb2_grpc.QueryServiceStub(channel).ReadStream(request):
            for record in batch.records:
                typer.echo(shown(record, messages, as_json))


def shown(record: record_pb2.EventRecord, messages: Messages, as_json: bool) -> str:
    """Returns a record as one line for people, or as one line of JSON."""
    data = messages.data(record.type, record.payload)
    if not as_json:
        when = record.append_time.ToDatetime().isoformat(sep=" ", timespec="milliseconds")
        name = record.type.rpartition(".")[2]
        place = f"{record.stream}@{record.stream_version}"
        return f"{when}  {place:<40} {name:<20} {json.dumps(data, ensure_ascii=False)}"
    return line(
        {
            "stream": record.stream,
            "stream_version": record.stream_version,
            "event_id": record.event_id,
            "type": record.type,
            "command_id": record.command_id,
            "correlation_id": record.correlation_id,
            "causation_id": record.causation_id,
            "metadata": dict(record.metadata),
            "append_time": record.append_time.ToJsonString(),
            "tenant": record.tenant,
            "schema_fingerprint": record.schema_fingerprint.hex(),
            "chain_hash": record.chain_hash.hex(),
            "data": data,
        }
    )


def tail(
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="`beginning`, `end`, a cursor printed earlier, a time such as"
            " 2013-01-01T10:00:00Z, or with --stream a first version.",
        ),
    ] = "end",
    stream: Annotated[str, typer.Option(help="Only this stream.")] = "",
    category: Annotated[list[str] | None, typer.Option(help="Only these categories.")] = None,
    prefix: Annotated[str, typer.Option(help="Only streams that begin so.")] = "",
    event_type: Annotated[
        list[str] | None, typer.Option("--type", help="Only these types, by full name.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many; 0 for never.")] = 0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Subscribe to events and print them as they come, until Ctrl-C."""
    chosen = subscription_pb2.EventFilter(
        stream=stream, categories=category or [], stream_prefix=prefix, types=event_type or []
    )
    request = subscription_pb2.SubscribeRequest(filter=chosen)
    _begin(request, start)
    with connected(address) as channel:
        messages = Messages(channel)
        call = query_pb2_grpc.QueryServiceStub(channel).Subscribe(request)
        try:
            _print_events(call, messages, limit, as_json)
        finally:
            call.cancel()


def _begin(request: subscription_pb2.SubscribeRequest, start: str) -> None:
    """Sets where a subscription begins."""
    if start in ("beginning", "end"):
        getattr(request, start).SetInParent()
    elif ":" in start:
        _set_time(request.time, "--from", start)
    elif start.isdecimal():
        if not request.filter.stream:
            stop(f"--from {start} is a version; name its stream with --stream")
        if int(start) == 0:
            stop("--from 0 is no version; the first one is 1")
        request.after_version = int(start) - 1
    else:
        request.cursor = start


def _set_time(field: Timestamp, option: str, text: str) -> None:
    """Sets a time, or ends with what is wrong with it."""
    try:
        field.FromJsonString(text)
    except ValueError:
        stop(f"{option} {text!r} is not a time; write it as 2013-01-01T10:00:00Z")


def _print_events(
    call: Iterator[subscription_pb2.SubscribeResponse],
    messages: Messages,
    limit: int,
    as_json: bool,
) -> None:
    printed, cursor = 0, ""
    try:
        for message in call:
            cursor = getattr(message, message.WhichOneof("message") or "").cursor
            for record in message.batch.records:
                typer.echo(shown(record, messages, as_json))
                printed += 1
                if printed == limit:
                    return
    finally:
        if cursor:
            typer.echo(f"resume with: --from {cursor}", err=True)


def state(
    stream: Stream,
    version: Annotated[int | None, typer.Option(min=1, help="After this version.")] = None,
    time: Annotated[
        str | None, typer.Option(help="At this time, such as 2013-01-01T10:00:00Z.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Print the state of an aggregate, now or at a version or time."""
    request = query_pb2.GetStateRequest(stream=stream)
    if version is not None and time is not None:
        stop("choose one of --version and --time")
    if version is not None:
        request.version = version
    if time is not None:
        _set_time(request.time, "--time", time)
    with connected(address) as channel:
        reply = query_pb2_grpc.QueryServiceStub(channel).GetState(request)
        data = Messages(channel).any_data(reply.state)
    if as_json:
        found = {"stream": reply.stream, "stream_version": reply.stream_version, "state": data}
        typer.echo(line(found))
    else:
        typer.echo(f"{reply.stream}@{reply.stream_version} {reply.state.TypeName()}")
        typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def append(
    stream: Stream,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="The event's full name.")],
    data: Annotated[str, typer.Argument(metavar="JSON", help="The event as JSON.")],
    expect: Annotated[
        str, typer.Option(help="`any`, `no-stream`, `stream-exists`, or a version.")
    ] = "any",
    command_id: Annotated[str, typer.Option(help="Its identity; empty picks a new one.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Store nothing.")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Append one event to a stream, whatever a decider would say."""
    header = command_pb2.CommandHeader(
        command_id=command_id or str(uuid.uuid4()), expected=_expectation(expect), dry_run=dry_run
    )
    with connected(address) as channel:
        payload = Messages(channel).parse(event_type, data).SerializeToString()
        event = command_pb2.NewEvent(type=event_type, payload=payload)
        request = command_pb2.AppendRequest(header=header, stream=stream, events=[event])
        reply = command_pb2_grpc.CommandServiceStub(channel).Append(request)
    _print_result(header.command_id, reply.result, as_json)


def _expectation(text: str) -> record_pb2.Expectation:
    expectation = record_pb2.Expectation()
    if text in ("any", "no-stream", "stream-exists"):
        getattr(expectation, text.replace("-", "_")).SetInParent()
    elif text.isdigit() and int(text) > 0:
        expectation.version = int(text)
    else:
        stop(f"--expect {text!r} is none of any, no-stream, stream-exists, or a version from 1")
    return expectation


def send(
    request_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="The command's full name, ending in Request.")
    ],
    data: Annotated[str, typer.Argument(metavar="JSON", help="The command as JSON.")],
    command_id: Annotated[str, typer.Option(help="Its identity; empty picks a new one.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Store nothing.")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Send one typed command to be decided."""
    with connected(address) as channel:
        command: Any = Messages(channel).parse(request_type, data)
        if "header" not in command.DESCRIPTOR.fields_by_name:
            stop(f"{request_type} is not a command: it has no header")
        command.header.command_id = command_id or command.header.command_id or str(uuid.uuid4())
        command.header.dry_run = dry_run
        request = command_pb2.ExecuteRequest()
        request.commands.add().Pack(command)
        verdict = next(iter(_execute(channel, request)))
    if verdict.HasField("failure"):
        failure = verdict.failure
        stop(f"{failure.reason.removeprefix('ERROR_REASON_')}: {failure.message}", EXIT_REFUSED)
    _print_result(verdict.command_id, verdict.result, as_json)


def _execute(
    channel: grpc.Channel, request: command_pb2.ExecuteRequest
) -> Iterator[command_pb2.CommandVerdict]:
    for response in command_pb2_grpc.CommandServiceStub(channel).Execute(iter([request])):
        yield from response.verdicts


def _print_result(command_id: str, result: command_pb2.CommandResult, as_json: bool) -> None:
    if as_json:
        typer.echo(
            line(
                {
                    "command_id": command_id,
                    "stream": result.stream,
                    "last_version": result.last_version,
                    "event_count": result.event_count,
                    "replayed": result.replayed,
                    "token": result.token,
                    "would_append": [packed.TypeName() for packed in result.would_append],
                }
            )
        )
        return
    if result.would_append:
        names = ", ".join(packed.TypeName() for packed in result.would_append)
        typer.echo(f"dry run: {result.stream} would get {names}")
        return
    replayed = " (replayed: stored by an earlier call)" if result.replayed else ""
    noun = "event" if result.event_count == 1 else "events"
    typer.echo(
        f"{result.stream}@{result.last_version}: {result.event_count} {noun} stored{replayed}"
    )
    typer.echo(f"token: {result.token}")
