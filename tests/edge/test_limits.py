"""Too much at once is RESOURCE_EXHAUSTED with the platform's details, in every way of calling."""

import asyncio
from collections import Counter
from pathlib import Path

import grpc
import pytest
from grpc import aio

from devstack.edge.contract import Kind
from devstack.edge.settings import Limits
from eventspine.client.errors import CallError, call_error
from tests.edge.backend import Gate, backend, echo
from tests.edge.fronted import DEPOSIT, GET_STREAM, fronted, post
from tests.journey.user import eventually

pytestmark = pytest.mark.envoy
RATES = {Kind.COMMAND: 20, Kind.QUERY: 1_000, Kind.ADMIN: 100}


async def outcome(channel: aio.Channel, path: str) -> CallError | None:
    """Returns the error that a call ends with; None when it is answered."""
    try:
        await channel.unary_unary(path)(b"")
    except aio.AioRpcError as error:
        return call_error(error)
    return None


async def outcomes(channel: aio.Channel, path: str, count: int) -> list[CallError | None]:
    return await asyncio.gather(*(outcome(channel, path) for _ in range(count)))


def overloaded(error: CallError) -> None:
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (error.reason, error.domain) == ("ERROR_REASON_OVERLOADED", "eventspine.v1")
    assert error.retry_seconds
    assert error.transient


async def test_more_calls_a_second_than_the_rate_are_refused_and_say_when_to_come_again(
    tmp_path: Path,
) -> None:
    async with (
        backend(echo) as service,
        fronted(tmp_path, service.address, limits=Limits(rates=RATES)) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        refused = [e for e in await outcomes(channel, DEPOSIT, 300) if e is not None]
        # Two gateways have 20 each at once, and some more while the calls come in.
        assert 100 < len(refused) <= 260
        for error in refused:
            overloaded(error)
        assert len(service.calls) == 300 - len(refused)
        # JSON callers are told the same. Other services have rates of their own.
        answers = await asyncio.gather(
            *(asyncio.to_thread(post, edge.address, DEPOSIT, {}) for _ in range(150))
        )
        told = next(answer for answer in answers if answer.status == 429).json
        assert told["code"] == 8
        assert [detail["@type"].rpartition(".")[2] for detail in told["details"]] == [
            "ErrorInfo",
            "RetryInfo",
        ]
        assert told["details"][0]["reason"] == "ERROR_REASON_OVERLOADED"
        assert await outcome(channel, GET_STREAM) is None


async def test_more_calls_under_way_than_the_limit_are_refused_and_the_others_answered(
    tmp_path: Path,
) -> None:
    gate = Gate()
    async with (
        backend(gate.pass_) as service,
        fronted(tmp_path, service.address, limits=Limits(requests=10)) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        calls = [asyncio.ensure_future(outcome(channel, DEPOSIT)) for _ in range(60)]

        async def settled() -> bool:
            return gate.waiting + sum(call.done() for call in calls) == len(calls)

        await eventually(settled)
        gate.open()
        kinds = Counter(error and error.reason for error in await asyncio.gather(*calls))
        # Ten through each gateway; the load balancer has its own ten for each of them.
        assert 10 <= kinds[None] <= 20
        assert kinds == {None: kinds[None], "ERROR_REASON_OVERLOADED": 60 - kinds[None]}


async def test_more_connections_than_the_limit_are_closed_and_the_others_served(
    tmp_path: Path,
) -> None:
    async with (
        backend(echo) as service,
        fronted(tmp_path, service.address, limits=Limits(connections=12)) as edge,
        aio.insecure_channel(edge.address) as channel,
    ):
        assert await outcome(channel, GET_STREAM) is None
        opened = [await asyncio.open_connection(*edge.address.split(":")) for _ in range(30)]

        async def closed() -> bool:
            return sum(reader.at_eof() for reader, _ in opened) >= 18

        for reader, _ in opened:
            asyncio.ensure_future(reader.read(1))  # noqa: RUF006 - ends with its connection
        await eventually(closed)
        assert await outcome(channel, GET_STREAM) is None
        for _, writer in opened:
            writer.close()
