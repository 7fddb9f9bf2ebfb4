"""The host over real gRPC: statuses, streams, callers that vanish, and the way it stops."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from google.protobuf.struct_pb2 import Value
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc._cython import cygrpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from eventspine.client import client
from eventspine.rpc import host, limits
from eventspine.rpc.address import AddressError
from eventspine.rpc.call import DETAILS_KEY
from eventspine.rpc.context import CallContext
from eventspine.rpc.errors import StreamVersionConflictError
from eventspine.rpc.host import Host, PortTakenError
from eventspine.rpc.method import Method
from eventspine.rpc.observe import CallCounts
from eventspine.storage.errors import StoreUnavailableError
from eventspine.v1.command_pb2 import AppendRequest, AppendResponse, CommandHeader
from eventspine.v1.query_pb2 import GetStreamRequest, GetStreamResponse
from eventspine.v1.record_pb2 import EventRecord, VersionConflict

SERVICE = "test.v1.Tests"


def unary(handler: object, *, request: type = GetStreamRequest, name: str = "Ask") -> Method:
    return Method(service=SERVICE, name=name, request=request, unary=handler)


def stream(handler: object, *, name: str = "Follow") -> Method:
    return Method(service=SERVICE, name=name, request=GetStreamRequest, server_stream=handler)


def bidi(handler: object, *, name: str = "Talk") -> Method:
    return Method(service=SERVICE, name=name, request=GetStreamRequest, bidi_stream=handler)


def status_of(error: aio.AioRpcError) -> Status:
    found = [value for key, value in error.trailing_metadata() if key == DETAILS_KEY]
    assert len(found) == 1
    return Status.FromString(found[0])


def info_of(error: aio.AioRpcError) -> ErrorInfo:
    info = ErrorInfo()
    assert status_of(error).details[0].Unpack(info)
    return info


async def failure(call: object) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as raised:
        await call
    return raised.value


async def echo(request: GetStreamRequest, context: CallContext) -> GetStreamResponse:
    return GetStreamResponse(stream=request.stream)


async def test_a_reply_comes_as_message_or_as_ready_bytes(hosting) -> None:
    async def ready(request: GetStreamRequest, context: CallContext) -> bytes:
        return GetStreamResponse(stream=f"{request.stream}!").SerializeToString()

    channel = await hosting([unary(echo), unary(ready, name="AskReady")])
    request = GetStreamRequest(stream="account/a").SerializeToString()
    plain = await channel.unary_unary(f"/{SERVICE}/Ask")(request)
    fast = await channel.unary_unary(f"/{SERVICE}/AskReady")(request)
    assert GetStreamResponse.FromString(plain).stream == "account/a"
    assert GetStreamResponse.FromString(fast).stream == "account/a!"


async def test_a_handler_sees_the_deadline_and_nothing_of_the_transport(hosting) -> None:
    remaining: list[float | None] = []

    async def look(request: GetStreamRequest, context: CallContext) -> GetStreamResponse:
        remaining.append(context.time_remaining())
        assert not context.cancelled()
        return GetStreamResponse()

    call = (await hosting([unary(look)])).unary_unary(f"/{SERVICE}/Ask")
    await call(b"")
    await call(b"", timeout=20)
    assert remaining[0] is None
    assert remaining[1] is not None
    assert 10 < remaining[1] <= 20.1


@pytest.mark.parametrize(
    "raw",
    [b"\x0a\xff", b"\x0a\x01\xff", b"\xff" * 40, b"\x0a\x05abc"],
    ids=["truncated", "no UTF-8", "no tag", "too short"],
)
async def test_bytes_that_are_no_message_are_the_callers_error(hosting, raw: bytes) -> None:
    channel = await hosting([unary(echo), stream(forever)])
    for call in (
        channel.unary_unary(f"/{SERVICE}/Ask")(raw),
        channel.unary_stream(f"/{SERVICE}/Follow")(raw).read(),
    ):
        error = await failure(call)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert info_of(error).reason == "ERROR_REASON_INVALID_REQUEST"
        assert "eventspine.v1.GetStreamRequest" in error.details()


async def test_a_message_nested_too_deep_is_the_callers_error(hosting) -> None:
    async def never(request: Value, context: CallContext) -> bytes:
        raise AssertionError("a bomb must not arrive")

    bomb = b""
    for _ in range(5_000):
        for tag in (b"\x0a", b"\x32"):  # ListValue.values inside of Value.list_value
            size = len(bomb)
            bomb = tag + bytes_of(size) + bomb
    channel = await hosting([unary(never, request=Value)])
    error = await failure(channel.unary_unary(f"/{SERVICE}/Ask")(bomb))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


def bytes_of(number: int) -> bytes:
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


async def test_too_large_a_request_is_refused_with_its_limit_named(hosting) -> None:
    channel = await hosting([unary(echo)])
    raw = GetStreamRequest(stream="x" * limits.REQUEST_BYTES_MAX).SerializeToString()
    error = await failure(channel.unary_unary(f"/{SERVICE}/Ask")(raw))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert info_of(error).metadata["maximum"] == str(limits.REQUEST_BYTES_MAX)
    assert info_of(error).metadata["actual"] == str(len(raw))


async def test_what_the_transport_does_not_take_in_is_resource_exhausted(hosting) -> None:
    channel = await hosting([unary(echo)])
    error = await failure(
        channel.unary_unary(f"/{SERVICE}/Ask")(b"\x00" * (limits.RECEIVE_BYTES_MAX + 1))
    )
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_unforeseen_error_tells_the_caller_nothing_and_the_log_all(
    hosting, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(request: AppendRequest, context: CallContext) -> AppendResponse:
        raise RuntimeError("the password is swordfish")

    channel = await hosting([unary(broken, request=AppendRequest)])
    request = AppendRequest(header=CommandHeader(command_id="c-17"), stream="account/a")
    error = await failure(channel.unary_unary(f"/{SERVICE}/Ask")(request.SerializeToString()))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error.details() == ""
    assert "swordfish" not in str(status_of(error))
    assert info_of(error).reason == "ERROR_REASON_INTERNAL"
    record = next(r for r in caplog.records if r.levelno == logging.ERROR)
    assert record.exc_info is not None
    assert record.eventspine_fields["command_id"] == "c-17"
    assert record.eventspine_fields["stream"] == "account/a"


async def test_a_known_error_has_reason_metadata_and_when_to_try_again(hosting) -> None:
    async def full(request: GetStreamRequest, context: CallContext) -> GetStreamResponse:
        raise StoreUnavailableError("the disk is full; make room", cause="disk full")

    channel = await hosting([unary(full)])
    error = await failure(channel.unary_unary(f"/{SERVICE}/Ask")(b""))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert error.details() == "the disk is full; make room"
    assert info_of(error).metadata == {"cause": "disk full"}
    retry = RetryInfo()
    assert status_of(error).details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1_000


async def test_a_large_conflict_reaches_a_client_with_default_limits(hosting) -> None:
    missed = [
        EventRecord(stream="account/ü", stream_version=n, payload=bytes(range(250)))
        for n in range(1, 200)
    ]
    conflict = VersionConflict(stream="account/ü", actual_version=199, missed=missed)

    async def late(request: GetStreamRequest, context: CallContext) -> GetStreamResponse:
        raise StreamVersionConflictError("expected version 0, found 199; " + "ü" * 5_000, conflict)

    channel = await hosting([unary(late)])
    for _ in range(20):  # between the soft and the hard limit of gRPC it is chance
        error = await failure(channel.unary_unary(f"/{SERVICE}/Ask")(b""))
        assert error.code() == grpc.StatusCode.ABORTED
    told = VersionConflict()
    assert status_of(error).details[-1].Unpack(told)
    assert told.actual_version == 199
    assert told.truncated
    assert [r.stream_version for r in told.missed][:3] == [1, 2, 3]


async def forever(request: GetStreamRequest, context: CallContext) -> AsyncIterator[bytes]:
    yield GetStreamResponse(stream="first").SerializeToString()
    await asyncio.Event().wait()


async def test_a_stream_that_fails_sends_what_it_had_and_then_the_status(hosting) -> None:
    async def half(request: GetStreamRequest, context: CallContext) -> AsyncIterator[bytes]:
        yield GetStreamResponse(stream="one").SerializeToString()
        raise StoreUnavailableError("gone", cause="test")

    call = (await hosting([stream(half)])).unary_stream(f"/{SERVICE}/Follow")(b"")
    assert GetStreamResponse.FromString(await call.read()).stream == "one"
    error = await failure(call.read())
    assert info_of(error).reason == "ERROR_REASON_STORE_UNAVAILABLE"


@pytest.mark.parametrize("busy", [True, False], ids=["sending", "waiting"])
async def test_a_caller_that_vanishes_closes_the_handler_and_is_no_error(
    hosting,
    eventually: Callable,
    caplog: pytest.LogCaptureFixture,
    busy: bool,
) -> None:
    ended: list[str] = []

    async def talk(request: GetStreamRequest, context: CallContext) -> AsyncIterator[bytes]:
        try:
            yield b""
            while busy:
                yield b"\x0a\x7f" + b"x" * 127
            await asyncio.Event().wait()
        finally:
            ended.append("closed")

    channel = await hosting([stream(talk)])
    call = channel.unary_stream(f"/{SERVICE}/Follow")(b"")
    await call.read()
    call.cancel()
    await eventually(lambda: ended == ["closed"])
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_a_slow_reader_holds_the_handler_back(hosting, eventually: Callable) -> None:
    sent = 0

    async def flood(request: GetStreamRequest, context: CallContext) -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(100_000)

    channel = await hosting([stream(flood)])
    call = channel.unary_stream(f"/{SERVICE}/Follow")(b"")
    await call.read()
    await eventually(lambda: sent > 1)
    before = -1
    async with asyncio.timeout(10):
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
    assert sent < 300
    call.cancel()


async def test_a_conversation_answers_each_message_as_it_comes(hosting) -> None:
    async def answer(
        requests: AsyncIterator[GetStreamRequest], context: CallContext
    ) -> AsyncIterator[GetStreamResponse]:
        async for request in requests:
            yield GetStreamResponse(stream=request.stream)

    channel = await hosting([bidi(answer)])
    call = channel.stream_stream(f"/{SERVICE}/Talk")()
    for name in ("account/a", "account/b"):
        await call.write(GetStreamRequest(stream=name).SerializeToString())
        assert GetStreamResponse.FromString(await call.read()).stream == name
    await call.done_writing()
    assert await call.read() is aio.EOF
    broken = channel.stream_stream(f"/{SERVICE}/Talk")()
    await broken.write(b"\x0a\xff")
    error = await failure(broken.read())
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    bad = BadRequest()
    assert status_of(error).details[1].Unpack(bad)
    assert bad.field_violations[0].field == "request"


async def test_a_stop_ends_streams_with_a_reason_and_lets_calls_finish(hosting) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(request: GetStreamRequest, context: CallContext) -> GetStreamResponse:
        begun.set()
        await release.wait()
        return GetStreamResponse(stream="done")

    async def listen(
        requests: AsyncIterator[GetStreamRequest], context: CallContext
    ) -> AsyncIterator[GetStreamResponse]:
        yield GetStreamResponse()
        async for _ in requests:
            yield GetStreamResponse()

    host = Host([unary(slow), stream(forever), bidi(listen)])
    async with aio.insecure_channel(await host.start()) as channel:
        asking = channel.unary_unary(f"/{SERVICE}/Ask")(b"")
        following = channel.unary_stream(f"/{SERVICE}/Follow")(b"")
        talking = channel.stream_stream(f"/{SERVICE}/Talk")()
        await asyncio.gather(following.read(), talking.read(), begun.wait())
        stopping = asyncio.ensure_future(host.stop(5))
        for call in (following, talking):
            error = await failure(call.read())
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            assert info_of(error).reason == "ERROR_REASON_SHUTTING_DOWN"
        release.set()
        assert GetStreamResponse.FromString(await asking).stream == "done"
        await stopping
        await host.stop()


async def test_health_and_reflection_know_every_service(hosting) -> None:
    channel = await hosting([unary(echo)])
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = {s.name for s in (await call.read()).list_services_response.service}
    await call.done_writing()
    assert SERVICE in listed


async def test_a_taken_port_is_refused_by_its_name() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(PortTakenError, match=f"{address}: another process listens there"):
            await Host([unary(echo)], address=address).start()
    first = Host([unary(echo)])
    address = await first.start()
    with pytest.raises(PortTakenError, match=address):
        await Host([unary(echo)], address=address).start()
    await first.stop()


@pytest.mark.parametrize(
    "address", ["", "nonsense", "127.0.0.1", ":7070", "127.0.0.1:99999", "a:b"]
)
async def test_an_address_that_cannot_be_one_is_refused_with_how_to_write_it(address: str) -> None:
    with pytest.raises(AddressError, match="write host:port"):
        await Host([unary(echo)], address=address).start()


async def test_an_address_of_nowhere_is_refused_by_its_name() -> None:
    with pytest.raises(PortTakenError, match=r"203\.0\.113\.1:50051"):
        await Host([unary(echo)], address="203.0.113.1:50051").start()


def test_a_method_has_one_handler_and_is_hosted_once() -> None:
    with pytest.raises(ValueError, match="hosted twice"):
        Host([unary(echo), unary(echo)])
    with pytest.raises(ValueError, match="0 handlers"):
        Host([Method(service=SERVICE, name="Ask", request=GetStreamRequest)])


@pytest.mark.parametrize("how", ["cancelled", "out of time"])
async def test_a_handler_that_fails_after_its_caller_left_harms_nobody(
    hosting, eventually: Callable, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    begun: list[str] = []
    ended: list[str] = []

    async def stubborn(request: GetStreamRequest, context: CallContext) -> GetStreamResponse:
        try:
            begun.append("unary")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("unary")
            raise StoreUnavailableError("too late", cause="test") from None
        return GetStreamResponse()

    async def stubborn_stream(
        request: GetStreamRequest, context: CallContext
    ) -> AsyncIterator[GetStreamResponse]:
        begun.append("stream")
        yield GetStreamResponse()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("stream")
            raise StoreUnavailableError("too late", cause="test") from None

    channel = await hosting([unary(stubborn), stream(stubborn_stream)])
    # Long enough that both calls have begun by then, also on a machine that stalls for a moment.
    timeout = 2.0 if how == "out of time" else None
    asking = channel.unary_unary(f"/{SERVICE}/Ask")(b"", timeout=timeout)
    following = channel.unary_stream(f"/{SERVICE}/Follow")(b"", timeout=timeout)
    await following.read()
    await eventually(lambda: sorted(begun) == ["stream", "unary"])
    if how == "cancelled":
        asking.cancel()
        following.cancel()
    await eventually(lambda: sorted(ended) == ["stream", "unary"])
    other = await channel.unary_stream(f"/{SERVICE}/Follow")(b"").read()
    assert GetStreamResponse.FromString(other) == GetStreamResponse()
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


async def health_of(channel: aio.Channel, service: str = "") -> str:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


async def test_a_host_that_only_listens_says_so_and_refuses_calls_of_any_kind() -> None:
    host = Host()
    async with aio.insecure_channel(await host.listen()) as channel:
        assert await health_of(channel) == "NOT_SERVING"
        ask = channel.unary_unary(f"/{SERVICE}/Ask")
        for call in (ask(b""), channel.unary_stream(f"/{SERVICE}/Follow")(b"").read()):
            error = await failure(call)
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            assert info_of(error).reason == "ERROR_REASON_STORE_UNAVAILABLE"
        await host.serve([unary(echo)])
        assert [await health_of(channel, name) for name in ("", SERVICE)] == ["SERVING"] * 2
        request = GetStreamRequest(stream="account/a").SerializeToString()
        assert GetStreamResponse.FromString(await ask(request)).stream == "account/a"
        await host.stop(0)


async def test_a_host_that_drains_says_so_and_goes_on_answering() -> None:
    host = Host([unary(echo)])
    async with aio.insecure_channel(await host.start()) as channel:
        await host.drain()
        assert [await health_of(channel, name) for name in ("", SERVICE)] == ["NOT_SERVING"] * 2
        reply = await channel.unary_unary(f"/{SERVICE}/Ask")(b"")
        assert GetStreamResponse.FromString(reply).stream == ""
        await host.stop(0)


async def test_calls_are_counted_by_method_and_status() -> None:
    async def fail(request: GetStreamRequest, context: CallContext) -> GetStreamResponse:
        raise StoreUnavailableError("no", cause="test")

    async def two(request: GetStreamRequest, context: CallContext) -> AsyncIterator[bytes]:
        yield b""
        yield b""

    counts = CallCounts()
    methods = [unary(echo), unary(fail, name="Fail"), stream(two), stream(forever, name="Stay")]
    host = Host(methods, counts=counts)
    async with aio.insecure_channel(await host.start()) as channel:
        await channel.unary_unary(f"/{SERVICE}/Ask")(b"")
        await failure(channel.unary_unary(f"/{SERVICE}/Fail")(b""))
        assert len([_ async for _ in channel.unary_stream(f"/{SERVICE}/Follow")(b"")]) == 2
        staying = channel.unary_stream(f"/{SERVICE}/Stay")(b"")
        await staying.read()
        await asyncio.gather(failure(staying.read()), host.stop(5))
    started, handled, seconds = (figure.samples for figure in counts.figures())
    assert {labels[0] for labels in started} == {"unary", "server_stream"}
    assert {labels[2]: count for labels, count in started.items()} == {
        "Ask": 1,
        "Fail": 1,
        "Follow": 1,
        "Stay": 1,
    }
    assert {(*labels[2:],): count for labels, count in handled.items()} == {
        ("Ask", "OK"): 1,
        ("Fail", "Unavailable"): 1,
        ("Follow", "OK"): 1,
        ("Stay", "Unavailable"): 1,
    }
    assert [sum(timings.counts) for timings in seconds.values()] == [1, 1, 1, 1]


@pytest.mark.parametrize("name", sorted({name for name, _ in (*host.OPTIONS, *client.OPTIONS)}))
def test_the_transport_knows_each_option_that_it_is_told(name: str) -> None:
    # One that it does not know it passes over without a word.
    assert name.encode() + b"\0" in Path(cygrpc.__file__).read_bytes()
