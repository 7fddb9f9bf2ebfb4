"""Cursors and tokens of a store that this one was restored from, as far as it goes back."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from google.protobuf.empty_pb2 import Empty

from eventspine.rpc.errors import CursorExpiredError
from eventspine.rpc.token import encode_token
from eventspine.storage.connect import open_memory
from eventspine.storage.identity import StoreIdentity
from eventspine.storage.records import StreamPlace
from eventspine.v1.query_pb2 import StalePolicy
from eventspine.v1.subscription_pb2 import SubscribeRequest
from query_svc.cursor import decode_log, encode_log
from tests.query.test_rows import balance, get
from tests.query.world import BALANCES, World, cursor_of, in_order, kind, records_of

OLD = "old" * 10


@pytest.fixture
async def restored() -> AsyncIterator[World]:
    """A store that has the first 5 events of its ancestor, and 5 of its own."""
    backend = open_memory()
    identity = StoreIdentity(
        backend="memory", location="", durability="", store_id="new" * 10, ancestors={OLD: (5,)}
    )
    world = World(replace(backend, identity=identity), 1)
    await world.start()
    await world.deposit("alice", 10)
    await world.settled()
    yield world
    await world.stop()


async def test_a_cursor_of_the_ancestor_goes_on_where_the_events_are_the_same(
    restored: World,
) -> None:
    async with restored.subscribe(SubscribeRequest(beginning=Empty())) as reader:
        own = decode_log(cursor_of(await reader.next()))
    old = own._replace(store_id=OLD, sequences=(4,))
    async with restored.subscribe(SubscribeRequest(cursor=encode_log(old))) as reader:
        messages = await reader.until(lambda message: kind(message) == "caught_up")
    assert records_of(messages) == in_order(restored.written)[4:]
    beyond = encode_log(old._replace(sequences=(6,)))
    with pytest.raises(CursorExpiredError):
        await restored.subscribe(SubscribeRequest(cursor=beyond)).next()


async def test_a_token_of_the_ancestor_is_honoured_where_its_event_came_back(
    restored: World,
) -> None:
    await restored.serve(BALANCES)
    await restored.project({("alice",): balance("alice", 5)}, 5)
    fail = StalePolicy.STALE_POLICY_FAIL
    token = encode_token(OLD, [StreamPlace("account/alice", 5)])
    assert not (await get(restored, "alice", token=token, stale_policy=fail)).result.stale
    for version in (6, 11):
        lost = encode_token(OLD, [StreamPlace("account/alice", version)])
        with pytest.raises(CursorExpiredError, match="could not bring back"):
            await get(restored, "alice", token=lost, stale_policy=fail)
