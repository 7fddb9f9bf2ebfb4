"""What the caller believes about a stream is checked against what is stored."""

import asyncio

import pytest

from bank.v1 import account_pb2 as pb
from eventspine.domain.errors import RefusalError
from eventspine.rpc.errors import StreamVersionConflictError
from eventspine.storage.connect import Backend
from eventspine.v1.record_pb2 import Expectation
from tests.command.bank_service import (
    BankService,
    anyhow,
    append_request,
    at,
    deposit,
    no_stream,
    opening,
    running,
    stream_exists,
    withdrawal,
)


@pytest.mark.parametrize("expected", [None, anyhow(), at(1), stream_exists()])
async def test_an_expectation_that_is_met_lets_the_command_through(
    bank: BankService, expected: Expectation | None
) -> None:
    await bank.call(opening(expected=no_stream()))
    assert (await bank.call(deposit(expected=expected))).last_version == 2


async def test_a_conflict_tells_the_actual_version_and_the_missed_events(bank: BankService) -> None:
    await bank.call(opening())
    await bank.call(deposit(amount=1))
    await bank.call(deposit(amount=2))
    with pytest.raises(StreamVersionConflictError) as refused:
        await bank.call(deposit(expected=at(1)))
    conflict = refused.value.conflict
    assert (conflict.stream, conflict.actual_version) == ("account/a", 3)
    assert [record.stream_version for record in conflict.missed] == [2, 3]
    assert list(conflict.missed) == (await bank.records())[1:]
    assert not conflict.truncated


@pytest.mark.parametrize(("expected", "missed"), [(no_stream(), [1, 2]), (at(9), []), (at(1), [2])])
async def test_a_conflict_tells_what_the_caller_cannot_know(
    bank: BankService, expected: Expectation, missed: list[int]
) -> None:
    await bank.call(opening())
    await bank.call(deposit())
    with pytest.raises(StreamVersionConflictError) as refused:
        await bank.call(deposit(expected=expected))
    assert refused.value.conflict.actual_version == 2
    assert [record.stream_version for record in refused.value.conflict.missed] == missed


async def test_a_stream_that_should_exist_and_does_not_is_a_conflict(bank: BankService) -> None:
    with pytest.raises(StreamVersionConflictError) as refused:
        await bank.call(opening(expected=stream_exists()))
    assert refused.value.conflict.actual_version == 0
    assert await bank.records() == []


async def test_a_conflict_tells_of_100_records_at_most_and_says_so(bank: BankService) -> None:
    await bank.execute([opening(), *(deposit() for _ in range(150))])
    with pytest.raises(StreamVersionConflictError) as refused:
        await bank.call(deposit(expected=at(1)))
    conflict = refused.value.conflict
    assert len(conflict.missed) == 100
    assert conflict.truncated


async def test_a_conflict_tells_of_256_kib_at_most(bank: BankService) -> None:
    large = pb.AccountOpened(account_id="a", owner="x" * 100_000)
    await bank.call(append_request(large, large, large, large, expected=no_stream()))
    with pytest.raises(StreamVersionConflictError) as refused:
        await bank.call(append_request(large, expected=no_stream()))
    assert len(refused.value.conflict.missed) == 2
    assert refused.value.conflict.truncated


async def test_of_two_at_the_same_version_one_wins(bank: BankService) -> None:
    await bank.call(opening())
    results = await asyncio.gather(
        *(bank.call(deposit(expected=at(1))) for _ in range(5)), return_exceptions=True
    )
    lost = [r for r in results if isinstance(r, StreamVersionConflictError)]
    assert len(lost) == 4
    assert {error.conflict.actual_version for error in lost} == {2}
    assert len(await bank.records()) == 2


async def test_commands_that_lose_to_another_process_are_decided_again(backend: Backend) -> None:
    async with running(backend) as ours, running(backend) as theirs:
        await ours.call(opening())
        for _ in range(3):
            await theirs.call(deposit())
            await ours.call(deposit())
        assert [record.stream_version for record in await ours.records()] == [*range(1, 8)]


async def test_a_refusal_on_what_another_process_has_changed_is_decided_again(
    backend: Backend,
) -> None:
    async with running(backend) as ours, running(backend) as theirs:
        with pytest.raises(Exception, match="never opened"):
            await ours.call(deposit())
        await theirs.call(opening())
        assert (await ours.call(deposit())).last_version == 2


async def test_a_dry_run_tells_what_would_be_stored_and_stores_nothing(bank: BankService) -> None:
    await bank.call(opening())
    sent = deposit(amount=7, dry_run=True)
    result = await bank.call(sent)
    (packed,) = result.would_append
    event = pb.MoneyDeposited()
    assert packed.Unpack(event)
    assert event.amount_cents == 7
    assert (result.last_version, result.event_count, result.token) == (1, 0, "")
    assert len(await bank.records()) == 1
    sent.header.dry_run = False
    assert not (await bank.call(sent)).replayed
    sent.header.dry_run = True
    assert (await bank.call(sent)).replayed


async def test_a_refusal_asks_for_its_command_and_for_the_stream_at_once(bank: BankService) -> None:
    await bank.call(opening())
    bank.store.answering.clear()
    bank.store.asked.clear()
    refused = asyncio.create_task(bank.call(withdrawal(amount=50)))
    # Neither answer waits for the other, so the stream's end is asked for while one is out.
    await asyncio.wait_for(bank.store.asked.wait(), 60)
    assert not refused.done()
    bank.store.answering.set()
    with pytest.raises(RefusalError):
        await refused
