"""Streams over gRPC: read both ways from anywhere, and folded to a state of any moment."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from bank.v1 import account_pb2 as bank
from eventspine.v1.query_pb2 import (
    DIRECTION_BACKWARDS,
    DIRECTION_FORWARDS,
    GetStateRequest,
    GetStreamRequest,
    ReadStreamRequest,
)
from tests.journey.user import User, collected, depositing, refusal, told

LAST = 1_201
"""More than two batches hold."""


async def filled(user: User) -> None:
    await user.open("ann")
    commands = [depositing("ann", cents) for cents in range(1, LAST)]
    await user.execute(commands[:1_000], commands[1_000:])


async def versions(user: User, **fields: Any) -> list[list[int]]:
    request = ReadStreamRequest(stream="account/ann", **fields)
    batches = await collected(user.queries.ReadStream(request))
    return [[record.stream_version for record in batch.records] for batch in batches]


async def test_a_stream_is_read_both_ways_from_any_version_up_to_a_limit(user: User) -> None:
    await filled(user)

    async def read(**fields: Any) -> list[int]:
        batches = await versions(user, **fields)
        assert all(0 < len(batch) <= 500 for batch in batches)
        return [version for batch in batches for version in batch]

    whole = list(range(1, LAST + 1))
    back = {"direction": DIRECTION_BACKWARDS}
    assert await read() == whole
    assert await read(direction=DIRECTION_FORWARDS, from_version=700) == whole[699:]
    assert await read(from_version=1, limit=1) == [1]
    assert await read(from_version=600, limit=501) == whole[599:1_100]
    assert await read(**back) == whole[::-1]
    assert await read(**back, from_version=601) == whole[600::-1]
    assert await read(**back, from_version=601, limit=600) == whole[600:0:-1]
    assert await read(**back, limit=2) == [LAST, LAST - 1]
    assert await read(from_version=LAST + 1) == []
    assert await read(**back, from_version=LAST + 9, limit=1) == [LAST]


async def test_a_stream_without_events_is_not_found(user: User) -> None:
    for call in (
        collected(user.queries.ReadStream(ReadStreamRequest(stream="account/nobody"))),
        user.queries.GetStream(GetStreamRequest(stream="account/nobody")),
        user.queries.GetState(GetStateRequest(stream="account/nobody")),
    ):
        assert told(await refusal(call)) == "NOT_FOUND STREAM_NOT_FOUND"


async def test_a_stream_tells_its_version_and_its_ends(user: User) -> None:
    await filled(user)
    told_of = await user.queries.GetStream(GetStreamRequest(stream="account/ann"))
    records = await user.records("account/ann")
    assert told_of.last_version == LAST
    assert told_of.first_append_time == records[0].append_time
    assert told_of.last_append_time == records[-1].append_time
    assert told_of.chain_hash == records[-1].chain_hash


async def state(user: User, **at: Any) -> tuple[int, int]:
    reply = await user.queries.GetState(GetStateRequest(stream="account/ann", **at))
    found = bank.AccountState()
    assert reply.state.Unpack(found)
    return reply.stream_version, found.balance_cents


async def test_the_state_is_told_as_of_any_version(user: User) -> None:
    await filled(user)
    assert await state(user) == (LAST, sum(range(LAST)))
    for version in (1, 2, 499, 500, 501, 1_000, LAST):
        assert await state(user, version=version) == (version, sum(range(version)))


async def test_the_state_is_told_as_of_a_time(user: User) -> None:
    await user.open("ann")
    for cents in range(1, 20):
        await user.deposit("ann", cents)
    records = await user.records("account/ann")
    for record in records:
        at = record.append_time.ToMicroseconds()
        last = max(r.stream_version for r in records if r.append_time.ToMicroseconds() <= at)
        assert await state(user, time=record.append_time) == (last, sum(range(last)))
    before = Timestamp()
    before.FromMicroseconds(records[0].append_time.ToMicroseconds() - 1)
    assert told(await refusal(state(user, time=before))) == "NOT_FOUND STREAM_NOT_FOUND"


async def test_a_version_that_the_stream_has_not_reached_has_no_state(user: User) -> None:
    await user.open("ann")
    error = await refusal(state(user, version=2))
    assert told(error) == "NOT_FOUND STREAM_NOT_FOUND"
    error = await refusal(user.queries.GetState(GetStateRequest(stream="nothing/ann")))
    assert told(error) == "INVALID_ARGUMENT INVALID_REQUEST"
