"""Streams are read in both directions, and folded to their state at any version or time."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from bank.v1 import account_pb2 as bank
from eventspine.domain.errors import DomainDefectError
from eventspine.rpc.errors import InvalidRequestError, StreamNotFoundError
from eventspine.storage.codec import chain_of
from eventspine.storage.records import Snapshot
from eventspine.v1.query_pb2 import (
    Direction,
    GetStateRequest,
    GetStateResponse,
    GetStreamRequest,
    GetStreamResponse,
    ReadStreamRequest,
    ReadStreamResponse,
)
from tests.query.world import SECOND_US, START_US, World

STREAM = "account/alice"
BACKWARDS = Direction.DIRECTION_BACKWARDS


async def read(world: World, stream: str = STREAM, **fields: Any) -> list[int]:
    request = ReadStreamRequest(stream=stream, **fields)
    batches = await world.stream("ReadStream", request, ReadStreamResponse).all()
    assert all(1 <= len(batch.records) <= 500 for batch in batches)
    return [record.stream_version for batch in batches for record in batch.records]


async def state(world: World, **fields: Any) -> tuple[int, bank.AccountState]:
    request = GetStateRequest(stream=STREAM, **fields)
    response = await world.ask("GetState", request, GetStateResponse)
    account = bank.AccountState()
    assert response.state.Unpack(account)
    return response.stream_version, account


@pytest.mark.parametrize("last", [1, 3, 1_201])
async def test_a_stream_is_read_whole_in_both_directions(world: World, last: int) -> None:
    await world.deposit("alice", last)
    await world.deposit("alicia", 2)
    assert await read(world) == list(range(1, last + 1))
    assert await read(world, direction=Direction.DIRECTION_FORWARDS) == list(range(1, last + 1))
    assert await read(world, direction=BACKWARDS) == list(range(last, 0, -1))


async def test_a_stream_is_read_from_any_version_up_to_a_limit(world: World) -> None:
    await world.deposit("alice", 700)
    assert await read(world, from_version=650) == list(range(650, 701))
    assert await read(world, from_version=650, limit=3) == [650, 651, 652]
    assert await read(world, from_version=3, direction=BACKWARDS) == [3, 2, 1]
    assert await read(world, from_version=600, direction=BACKWARDS, limit=550) == list(
        range(600, 50, -1)
    )
    assert await read(world, limit=1, direction=BACKWARDS) == [700]
    assert await read(world, limit=(1 << 64) - 1) == list(range(1, 701))


async def test_a_range_beyond_the_end_holds_no_record(world: World) -> None:
    await world.deposit("alice", 3)
    for version in (4, 1 << 63, (1 << 64) - 1):
        assert await read(world, from_version=version) == []
        assert await read(world, from_version=version, direction=BACKWARDS) == [3, 2, 1]


async def test_records_go_out_as_they_were_stored(world: World) -> None:
    entries = await world.deposit("alice", 3)
    request = ReadStreamRequest(stream=STREAM)
    batches = await world.stream("ReadStream", request, ReadStreamResponse).all()
    sent = [record.SerializeToString() for batch in batches for record in batch.records]
    assert sent == [entry.encoded for entry in entries]


async def test_large_records_are_read_in_batches_of_about_a_mebibyte(world: World) -> None:
    events = [bank.AccountOpened(owner="o" * 300_000)] * 10
    await world.write(STREAM, *events)
    request = ReadStreamRequest(stream=STREAM)
    batches = await world.stream("ReadStream", request, ReadStreamResponse).all()
    assert all(batch.ByteSize() < 1_100_000 for batch in batches)
    assert sum(len(batch.records) for batch in batches) == 10


async def test_malformed_reads_are_refused_by_name(world: World) -> None:
    await world.deposit("alice", 3)
    with pytest.raises(StreamNotFoundError, match="account/nobody"):
        await read(world, stream="account/nobody")
    with pytest.raises(InvalidRequestError, match="from_version"):
        await read(world, from_version=0)
    with pytest.raises(InvalidRequestError, match="direction"):
        await read(world, direction=7)
    with pytest.raises(InvalidRequestError, match="stream"):
        await read(world, stream="account")


async def test_a_stream_tells_its_version_its_ends_and_its_chain(world: World) -> None:
    for second in range(3):
        await world.deposit("alice", at=START_US + second * SECOND_US)
    request = GetStreamRequest(stream=STREAM)
    response = await world.ask("GetStream", request, GetStreamResponse)
    assert (response.stream, response.last_version) == (STREAM, 3)
    assert response.first_append_time == Timestamp(seconds=START_US // SECOND_US)
    assert response.last_append_time == Timestamp(seconds=START_US // SECOND_US + 2)
    assert response.chain_hash == (await world.backend.events.head(STREAM)).chain
    with pytest.raises(StreamNotFoundError):
        await world.ask("GetStream", GetStreamRequest(stream="account/no"), GetStreamResponse)


async def opened(world: World, deposits: int) -> None:
    """Opens an account at second 0 and puts one cent into it every second from 1 on."""
    await world.write(STREAM, bank.AccountOpened(account_id="alice", owner="A"), at=START_US)
    for second in range(1, deposits + 1):
        await world.deposit("alice", at=START_US + second * SECOND_US)


async def test_the_state_is_folded_at_any_version_or_time_and_now(world: World) -> None:
    await opened(world, 20)
    version, account = await state(world)
    assert (version, account.balance_cents, account.opened) == (21, 20, True)
    version, account = await state(world, version=5)
    assert (version, account.balance_cents) == (5, 4)
    for second in (0, 7, 20, 1_000):
        version, account = await state(
            world, time=Timestamp(seconds=START_US // SECOND_US + second)
        )
        assert (version, account.balance_cents) == (min(second, 20) + 1, min(second, 20))


async def test_the_last_event_before_a_time_counts_though_clocks_went_back(world: World) -> None:
    await world.write(STREAM, bank.AccountOpened(account_id="alice"), at=START_US)
    for second in (10, 4, 6, 20):
        await world.deposit("alice", at=START_US + second * SECOND_US)
    moment = Timestamp(seconds=START_US // SECOND_US + 5)
    version, account = await state(world, time=moment)
    assert (version, account.balance_cents) == (3, 2)


async def test_a_snapshot_that_is_young_enough_and_of_the_same_code_is_used(world: World) -> None:
    await opened(world, 10)
    chains = [chain_of(entry.encoded) for entry in world.written]
    marked = bank.AccountState(opened=True, balance_cents=1_000).SerializeToString()
    await world.backend.snapshots.save(Snapshot(STREAM, 5, 1, chains[4], marked))
    assert (await state(world))[1].balance_cents == 1_006
    assert (await state(world, version=5))[1].balance_cents == 1_000
    assert (await state(world, version=4))[1].balance_cents == 3
    await world.backend.snapshots.save(Snapshot(STREAM, 6, 99, chains[5], marked))
    assert (await state(world))[1].balance_cents == 10


async def test_malformed_questions_for_a_state_are_refused_by_name(world: World) -> None:
    with pytest.raises(StreamNotFoundError):
        await state(world)
    await opened(world, 2)
    with pytest.raises(StreamNotFoundError, match="its last is 3"):
        await state(world, version=4)
    with pytest.raises(StreamNotFoundError, match="no event at that time"):
        await state(world, time=Timestamp(seconds=1))
    with pytest.raises(InvalidRequestError, match="version: is 0"):
        await state(world, version=0)
    with pytest.raises(InvalidRequestError, match="time: is no time"):
        await state(world, time=Timestamp(nanos=-1))
    with pytest.raises(InvalidRequestError, match=r"`loan`, which has no aggregate; have: account"):
        await world.ask("GetState", GetStateRequest(stream="loan/1"), GetStateResponse)


async def test_an_event_that_cannot_be_folded_is_a_defect_that_names_it(world: World) -> None:
    await opened(world, 1)
    await world.write(STREAM, Timestamp(seconds=1))
    with pytest.raises(DomainDefectError, match=r"version 3 of stream 'account/alice'"):
        await state(world)
    assert (await state(world, version=2))[0] == 2
