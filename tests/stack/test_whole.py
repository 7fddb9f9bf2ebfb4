"""`make stack` as a whole: servers, services and gateways behind one address."""

import asyncio
import os
import signal
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from devstack.stack.born import born
from devstack.stack.home import stacks_folder
from devstack.stack.leftovers import recorded
from tests.journey.user import User, showing
from tests.stack.conftest import GENEROUS_SECONDS, Bring

MAX_WAIT_SECONDS = 20
BEHIND = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE}
CHILDREN = {
    *("cassandra-1", "kafka-1", "command_svc-1", "processor_svc-1", "query_svc-1"),
    *("gateway-1", "gateway-2", "load_balancer-1"),
}


async def balance_of(user: User, token: str) -> int:
    """Returns the balance of Alice once it shows what a token stands for."""
    async with asyncio.timeout(GENEROUS_SECONDS):
        while True:
            try:
                found = await user.balance(
                    "alice", **showing(token), max_wait=Duration(seconds=MAX_WAIT_SECONDS)
                )
            except grpc.aio.AioRpcError as error:
                assert error.code() in BEHIND, error
                await asyncio.sleep(0.1)
            else:
                return found.row.balance_cents


@pytest.mark.slow
async def test_a_platform_answers_at_one_address_until_a_child_of_it_dies(up: Bring) -> None:
    stack = await up("--address", "127.0.0.1:0")
    address = stack.told["eventspine"].split()[0]
    async with grpc.aio.insecure_channel(address) as channel:
        user = User(channel)
        opened = await user.open("alice", cents=700)
        assert opened.stream == "account/alice"
        assert await balance_of(user, opened.token) == 700
    state = Path(stack.told["state"].split()[0])
    children = {
        name: child for name, child in recorded(state).items() if not name.endswith("-format")
    }
    assert set(children) == CHILDREN
    os.kill(children["query_svc-1"].pid, signal.SIGKILL)
    assert await stack.process.wait() == 4
    assert [name for name, child in children.items() if born(child.pid) is not None] == []
    assert not recorded(state)
    assert not list(stacks_folder().glob(state.name))
