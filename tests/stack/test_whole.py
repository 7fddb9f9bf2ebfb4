"""`make stack` as a whole: servers, services and gateways behind one address."""

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
from tests.stack.conftest import Bring

CHILDREN = {
    *("cassandra-1", "kafka-1", "command_svc-1", "processor_svc-1", "query_svc-1"),
    *("gateway-1", "gateway-2", "load_balancer-1"),
}


@pytest.mark.slow
async def test_a_platform_answers_at_one_address_until_a_child_of_it_dies(up: Bring) -> None:
    stack = await up("--address", "127.0.0.1:0")
    address = stack.told["eventspine"].split()[0]
    async with grpc.aio.insecure_channel(address) as channel:
        user = User(channel)
        opened = await user.open("alice", cents=700)
        assert opened.stream == "account/alice"
        asking = {**showing(opened.token), "max_wait": Duration(seconds=60)}
        assert (await user.balance("alice", **asking)).row.balance_cents == 700
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
