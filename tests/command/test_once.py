"""A command takes effect once, however often it is sent."""

import asyncio

import pytest

from bank.v1 import account_pb2 as pb
from eventspine.domain.errors import RefusalError
from eventspine.rpc.errors import CommandIdReusedError
from eventspine.rpc.token import decode_token
from eventspine.storage.connect import Backend
from eventspine.storage.records import StreamPlace
from tests.command.bank_service import (
    BankService,
    anyhow,
    append_request,
    at,
    completion,
    deposit,
    header,
    opening,
    running,
    withdrawal,
)


async def test_a_command_is_stored_with_all_that_a_record_tells(bank: BankService) -> None:
    sent = opening(metadata={"user": "x"}, correlation_id="corr", causation_id="cause")
    result = await bank.call(sent)
    (record,) = await bank.records()
    command_id = sent.header.command_id
    assert (result.stream, result.last_version, result.event_count) == ("account/a", 1, 1)
    assert not result.replayed
    assert record.event_id == f"{command_id}.0"
    assert (record.command_id, record.correlation_id) == (command_id, "corr")
    assert (record.causation_id, dict(record.metadata)) == ("cause", {"user": "x"})
    assert (record.tenant, record.append_time.ToMicroseconds()) == ("default", bank.time_us)
    assert pb.AccountOpened.FromString(record.payload).owner == "Ann"
    token = decode_token(result.token)
    assert token.store_id == bank.backend.identity.store_id
    assert token.places == (StreamPlace("account/a", 1),)


async def test_one_commands_header_does_not_stay_on_the_next(bank: BankService) -> None:
    await bank.call(opening(metadata={"user": "x"}, correlation_id="corr", causation_id="cause"))
    sent = deposit()
    await bank.call(sent)
    record = (await bank.records())[1]
    assert (dict(record.metadata), record.causation_id) == ({}, "")
    assert record.correlation_id == sent.header.command_id


async def test_a_repeated_command_gets_the_first_answer(bank: BankService) -> None:
    await bank.call(opening())
    sent = deposit()
    first = await bank.call(sent)
    await bank.call(deposit())
    again = await bank.call(sent)
    assert again.replayed
    assert (again.last_version, again.event_count, again.token) == (
        first.last_version,
        first.event_count,
        first.token,
    )
    assert len(await bank.records()) == 3


async def test_a_repeat_is_known_to_a_process_that_has_forgotten(backend: Backend) -> None:
    sent = deposit()
    async with running(backend) as bank:
        await bank.call(opening())
        await bank.call(sent)
    async with running(backend) as bank:
        assert (await bank.call(sent)).replayed
        assert await bank.types() == ["AccountOpened", "MoneyDeposited"]


async def test_a_repeat_sent_at_the_same_time_is_answered_as_such(bank: BankService) -> None:
    sent = opening()
    results = await asyncio.gather(*(bank.call(sent) for _ in range(5)))
    assert sorted(result.replayed for result in results) == [False, True, True, True, True]
    assert len(await bank.records()) == 1


@pytest.mark.parametrize("forgotten", [False, True])
async def test_the_same_id_with_other_content_is_refused(backend: Backend, forgotten: bool) -> None:
    async with running(backend, recent_commands_max=1 if forgotten else 100) as bank:
        await bank.call(opening())
        await bank.call(deposit(amount=5, command_id="mine"))
        for _ in range(3):
            await bank.call(deposit())
        with pytest.raises(CommandIdReusedError):
            await bank.call(deposit(amount=6, command_id="mine"))
        with pytest.raises(CommandIdReusedError):
            await bank.call(deposit(amount=5, command_id="mine", expected=at(4)))
        assert len(await bank.records()) == 5


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_command_that_would_be_refused_now_gets_its_first_answer(
    backend: Backend, forgotten: bool
) -> None:
    sent = withdrawal(amount=5)
    async with running(backend) as bank:
        await bank.call(opening())
        await bank.call(deposit(amount=5))
        await bank.call(sent)
        if not forgotten:
            assert (await bank.call(sent)).replayed
    async with running(backend) as bank:
        assert (await bank.call(sent)).replayed


async def test_a_conflicting_command_that_was_stored_gets_its_first_answer(
    backend: Backend,
) -> None:
    sent = deposit(expected=at(1))
    async with running(backend) as bank:
        await bank.call(opening())
        await bank.call(sent)
    async with running(backend) as bank:
        assert (await bank.call(sent)).last_version == 2


async def test_a_refused_command_stores_nothing_and_may_be_sent_again(bank: BankService) -> None:
    sent = deposit()
    with pytest.raises(RefusalError) as refused:
        await bank.call(sent)
    assert refused.value.value.name == "ACCOUNT_REFUSAL_NOT_OPEN"
    assert await bank.records() == []
    await bank.call(opening())
    assert not (await bank.call(sent)).replayed


async def test_a_command_without_anything_to_do_is_remembered(backend: Backend) -> None:
    start = pb.StartTransferRequest(
        header=header(),
        account_id="a",
        transfer_id="t",
        target_account_id="b",
        amount_cents=5,
    )
    nothing = completion("a", "t")
    async with running(backend) as bank:
        await bank.call(opening())
        await bank.call(deposit())
        await bank.call(start)
        await bank.call(completion("a", "t"))
        first = await bank.call(nothing)
        assert (first.last_version, first.event_count, first.replayed) == (4, 0, False)
    async with running(backend) as bank:
        again = await bank.call(nothing)
        assert (again.last_version, again.event_count, again.replayed) == (4, 0, True)


async def test_many_repeats_in_one_batch_are_answered_and_the_rest_is_stored(
    backend: Backend,
) -> None:
    sent = [deposit() for _ in range(50)]
    async with running(backend) as bank:
        await bank.execute([opening(), *sent])
    async with running(backend) as bank:
        verdicts = await bank.execute([*sent, *(deposit() for _ in range(50))])
        assert [v.result.replayed for v in verdicts] == [True] * 50 + [False] * 50
        assert len(await bank.records()) == 101
        assert len(bank.store.appends) == 2


async def test_an_append_is_repeated_like_a_command(bank: BankService) -> None:
    sent = append_request(pb.AccountOpened(account_id="a", owner="Ann"), expected=anyhow())
    first = await bank.call(sent)
    again = await bank.call(sent)
    assert (first.replayed, again.replayed) == (False, True)
    sent.events[0].payload = b""
    with pytest.raises(CommandIdReusedError):
        await bank.call(sent)
