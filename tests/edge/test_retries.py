"""What is tried again, how often, and where a call that nobody may repeat ends."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2

from devstack.edge.process import EnvoyProcess
from eventspine.client.errors import CallError, call_error
from tests.edge.backend import backend, echo
from tests.edge.frames import HEADERS, PREFACE, SETTINGS, frame
from tests.edge.fronted import DEPOSIT, free_address, fronted
from tests.journey.user import eventually

pytestmark = pytest.mark.envoy


async def refused(channel: aio.Channel, path: str = DEPOSIT, **options: Any) -> CallError:
    with pytest.raises(aio.AioRpcError) as raised:
        await channel.unary_unary(path)(b"", **options)
    return call_error(raised.value)


async def unavailable(raw: bytes, context: Any) -> bytes:
    """Answers UNAVAILABLE: it may have stored the command."""
    await context.abort(grpc.StatusCode.UNAVAILABLE, "ask again")
    return b""


@asynccontextmanager
async def hanging_up() -> AsyncIterator[str]:
    """A server that reads the headers of a call and closes the connection; yields its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(SETTINGS, 0, 0))
        try:
            await reader.readexactly(len(PREFACE))
            kind = None
            while kind != HEADERS:
                head = await reader.readexactly(9)
                kind = head[3]
                await reader.readexactly(int.from_bytes(head[:3], "big"))
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


async def counted(processes: Iterable[EnvoyProcess], name: str) -> int:
    """Returns the sum of a counter over processes."""
    counts = [await process.statistics(f"^{name}$") for process in processes]
    return sum(sum(count.values()) for count in counts)


async def test_a_service_that_says_unavailable_is_asked_once(tmp_path: Path) -> None:
    async with (
        backend(unavailable) as service,
        fronted(tmp_path, service.address) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        error = await refused(channel)
        assert (error.code, error.status.message) == (grpc.StatusCode.UNAVAILABLE, "ask again")
        assert len(service.calls) == 1


async def test_a_caller_cannot_order_retries_or_timeouts_by_headers(tmp_path: Path) -> None:
    orders = (
        ("x-envoy-retry-on", "5xx,gateway-error,unavailable"),
        ("x-envoy-retry-grpc-on", "unavailable"),
        ("x-envoy-max-retries", "50"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
    )
    async with (
        backend(unavailable) as service,
        fronted(tmp_path, service.address) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        error = await refused(channel, metadata=orders)
        assert (error.code, error.status.message) == (grpc.StatusCode.UNAVAILABLE, "ask again")
        assert len(service.calls) == 1
        assert not [name for name in service.calls[0] if name.startswith("x-envoy-retry")]


async def test_a_call_goes_to_another_instance_when_one_cannot_be_reached(tmp_path: Path) -> None:
    async with (
        backend(echo) as service,
        fronted(tmp_path, free_address(), service.address) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        for _ in range(40):
            await channel.unary_unary(DEPOSIT)(b"")
        assert len(service.calls) == 40


async def test_an_instance_that_says_it_drains_gets_no_more_calls(tmp_path: Path) -> None:
    async with (
        backend(echo) as leaving,
        backend(echo) as staying,
        fronted(tmp_path, leaving.address, staying.address) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        await leaving.health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)

        async def left_alone() -> bool:
            before = len(leaving.calls)
            for _ in range(20):
                await channel.unary_unary(DEPOSIT)(b"")
            return len(leaving.calls) == before

        await eventually(left_alone)


async def test_tries_of_the_tiers_do_not_multiply(tmp_path: Path) -> None:
    async with (
        fronted(tmp_path, free_address()) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        error = await refused(channel)
        assert error.code is grpc.StatusCode.UNAVAILABLE
        # Nothing took the call, so it was tried again: twice, by one gateway, and nowhere else.
        assert await counted(edge.gateways, "cluster.command.upstream_rq_retry") == 2
        assert await counted([edge.load_balancer], "cluster.gateway.upstream_rq_retry") == 0
        assert await counted([edge.load_balancer], "cluster.gateway.upstream_rq_total") == 1


async def test_a_call_that_was_sent_and_not_answered_is_not_sent_again(tmp_path: Path) -> None:
    async with (
        hanging_up() as address,
        fronted(tmp_path, address) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        error = await refused(channel)
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert await counted(edge.gateways, "cluster.command.upstream_rq_total") == 1
        assert await counted(edge.gateways, "cluster.command.upstream_rq_retry") == 0


async def test_a_gateway_that_is_gone_is_noticed_by_nobody(tmp_path: Path) -> None:
    async with (
        backend(echo) as service,
        fronted(tmp_path, service.address) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        await channel.unary_unary(DEPOSIT)(b"")
        await edge.gateways[0].kill()
        for _ in range(40):
            await channel.unary_unary(DEPOSIT)(b"")
        assert len(service.calls) == 41
        # No try is wasted on the one that has just failed.
        tried = await counted([edge.load_balancer], "cluster.gateway.upstream_rq_retry")
        worked = await counted([edge.load_balancer], "cluster.gateway.upstream_rq_retry_success")
        assert tried == worked > 0
