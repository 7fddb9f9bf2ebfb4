"""The access log of each tier: one call is found by its command id and its request id in both."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import aio

from tests.edge.backend import backend, echo
from tests.edge.conftest import Behind
from tests.edge.fronted import DEPOSIT, OPEN, fronted, opening, post
from tests.journey.user import User, depositing, eventually, refusal

pytestmark = pytest.mark.envoy
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def lines(behind: Behind, command_id: str) -> list[dict[str, Any]]:
    """Returns the lines of a command, the gateways' first."""
    processes = (*behind.edge.gateways, behind.edge.load_balancer)
    found = [
        json.loads(line)
        for process in processes
        for line in process.access_log.read_text().splitlines()
    ]
    return [line for line in found if line["command_id"] == command_id]


async def logged(behind: Behind, command_id: str, count: int) -> list[dict[str, Any]]:
    """Returns the lines of a command when all have come."""

    async def come() -> bool:
        return len(lines(behind, command_id)) >= count

    await eventually(come)
    return lines(behind, command_id)


async def test_a_command_is_found_in_both_tiers_with_one_request_id(
    behind: Behind, user: User, account: str
) -> None:
    await user.open(account)
    command = depositing(account, 1, command_id=f"{account}-logged")
    await user.accounts.Deposit(command, metadata=(("traceparent", TRACE),))
    gateway, front = await logged(behind, f"{account}-logged", 2)
    assert (gateway["tier"], front["tier"]) == ("gateway", "load_balancer")
    for line in (gateway, front):
        assert line["method"] == DEPOSIT
        assert line["grpc_status"] == "OK"
        assert line["traceparent"] == TRACE
        assert line["request_id"] == gateway["request_id"]
    assert gateway["upstream"] == behind.direct
    assert front["upstream"] in {process.address for process in behind.edge.gateways}


async def test_a_refused_command_is_found_too(behind: Behind, user: User, account: str) -> None:
    await refusal(user.accounts.Deposit(depositing(account, 1, command_id=f"{account}-refused")))
    for line in await logged(behind, f"{account}-refused", 2):
        assert line["grpc_status"] == "NotFound"


async def test_a_command_in_json_is_found_in_both_tiers_too(behind: Behind, account: str) -> None:
    answer = post(behind.address, OPEN, opening(account, f"{account}-jsön"), x_request_id="mine-1")
    assert answer.headers["x-request-id"] == "mine-1"
    both = await logged(behind, f"{account}-js%C3%B6n", 2)
    assert [line["tier"] for line in both] == ["gateway", "load_balancer"]
    for line in both:
        assert (line["request_id"], line["http_status"]) == ("mine-1", 200)


@pytest.fixture
async def called(tmp_path: Any) -> AsyncIterator[dict[str, str]]:
    """The metadata that a service gets of a call with a trace and an id."""
    async with (
        backend(echo) as service,
        fronted(tmp_path, service.address) as edge,
        aio.insecure_channel(edge.address) as channel,
        asyncio.timeout(60),
    ):
        metadata = (("traceparent", TRACE), ("tracestate", "a=b"), ("x-request-id", "mine-2"))
        await channel.unary_unary(DEPOSIT)(b"", metadata=metadata)
        yield service.calls[0]


async def test_services_get_the_request_id_and_the_trace(called: dict[str, str]) -> None:
    assert called["x-request-id"] == "mine-2"
    assert (called["traceparent"], called["tracestate"]) == (TRACE, "a=b")
    assert called["x-forwarded-for"]
