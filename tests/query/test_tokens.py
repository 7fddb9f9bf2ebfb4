"""Tokens of commands that stored nothing: they demand no more than what was there before."""

import pytest

from eventspine.rpc.token import encode_token
from eventspine.storage.records import StreamPlace
from eventspine.v1.query_pb2 import StalePolicy
from tests.query.test_rows import balance, get
from tests.query.world import BALANCES, World

POLICIES = (StalePolicy.STALE_POLICY_FAIL, StalePolicy.STALE_POLICY_IMMEDIATE)


@pytest.mark.parametrize("policy", POLICIES)
async def test_the_token_of_a_command_that_found_nothing_to_do_in_an_empty_stream_demands_nothing(
    world: World, policy: StalePolicy
) -> None:
    await world.serve(BALANCES)
    await world.project({("alice",): balance("alice", 1)}, 1)
    token = encode_token(world.backend.identity.store_id, [StreamPlace("account/bob", 0)])
    response = await get(world, "alice", token=token, stale_policy=policy)
    assert not response.result.stale
