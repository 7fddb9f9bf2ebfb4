"""Commands in bulk: batches in, verdicts out, each command on its own."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from google.protobuf.any_pb2 import Any

from bank.v1 import account_pb2 as pb
from command_svc.command import Answer
from eventspine.rpc.errors import InvalidRequestError, LimitExceededError, TypeUnknownError
from eventspine.storage.connect import Backend
from eventspine.v1.command_pb2 import CommandVerdict, ExecuteRequest
from tests.command.bank_service import (
    BankService,
    at,
    context,
    deposit,
    header,
    opening,
    running,
    withdrawal,
)
from tests.storage.until import settled, until


def kinds(verdicts: list[CommandVerdict]) -> list[str]:
    return [v.failure.reason if v.HasField("failure") else "result" for v in verdicts]


async def test_commands_of_one_stream_are_decided_in_the_order_sent(bank: BankService) -> None:
    sent = [opening(), *(deposit(amount=n) for n in range(1, 200)), withdrawal(amount=19_900)]
    verdicts = await bank.execute(sent[:50], sent[50:])
    assert [v.command_id for v in verdicts] == [command.header.command_id for command in sent]
    assert [v.result.last_version for v in verdicts] == [*range(1, 202)]
    assert {v.stream for v in verdicts} == {"account/a"}
    assert all(v.result.token for v in verdicts)


async def test_each_command_has_its_own_verdict(bank: BankService) -> None:
    verdicts = await bank.execute(
        [
            opening(),
            opening(),
            deposit(amount=-1),
            deposit(expected=at(9)),
            deposit(command_id="\n"),
            deposit(command_id="twice"),
            deposit(command_id="twice", amount=6),
        ]
    )
    by_id = {
        verdict.command_id: kind for verdict, kind in zip(verdicts, kinds(verdicts), strict=True)
    }
    assert sorted(kinds(verdicts)) == sorted(
        [
            "result",
            "ACCOUNT_REFUSAL_ALREADY_OPEN",
            "ACCOUNT_REFUSAL_AMOUNT_INVALID",
            "ERROR_REASON_STREAM_VERSION_CONFLICT",
            "ERROR_REASON_INVALID_REQUEST",
            "result",
            "ERROR_REASON_COMMAND_ID_REUSED",
        ]
    )
    assert by_id["\n"] == "ERROR_REASON_INVALID_REQUEST"
    assert len(await bank.records()) == 2


async def test_a_command_of_an_unknown_type_has_a_verdict_and_the_others_theirs(
    bank: BankService,
) -> None:
    request = ExecuteRequest()
    request.commands.add().Pack(pb.AccountOpened())
    request.commands.add(type_url="type.googleapis.com/no.such.Command")
    request.commands.add().Pack(opening())
    verdicts = await bank.execute_requests(request)
    assert sorted(kinds(verdicts)) == [
        "ERROR_REASON_TYPE_UNKNOWN",
        "ERROR_REASON_TYPE_UNKNOWN",
        "result",
    ]


async def test_a_command_that_cannot_be_read_ends_the_stream_and_stores_none_of_its_batch(
    bank: BankService,
) -> None:
    good, bad = ExecuteRequest(), ExecuteRequest()
    good.commands.add().Pack(opening())
    bad.commands.add().Pack(deposit())
    bad.commands.append(Any(type_url="type.googleapis.com/bank.v1.DepositRequest", value=b"\xff"))
    replies = bank.replies(good, bad)
    first = await anext(replies)
    assert kinds(list(first.verdicts)) == ["result"]
    with pytest.raises(InvalidRequestError, match=r"commands\[1\]"):
        await anext(replies)
    assert len(await bank.records()) == 1


@pytest.mark.parametrize(
    ("commands", "error"),
    [
        ([], InvalidRequestError),
        ([deposit() for _ in range(1_001)], LimitExceededError),
        (
            [
                pb.OpenAccountRequest(header=header(), account_id="a", owner="x" * 2_097_152)
                for _ in range(2)
            ],
            LimitExceededError,
        ),
    ],
    ids=["empty", "1,001 commands", "over 4 MiB"],
)
async def test_a_batch_that_breaks_a_limit_ends_the_stream(
    bank: BankService, commands: list[pb.OpenAccountRequest], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await bank.execute(commands)
    assert bank.store.appends == []


async def test_a_thousand_commands_in_one_batch_are_taken(bank: BankService) -> None:
    verdicts = await bank.execute([opening(f"a{n}") for n in range(1_000)])
    assert kinds(verdicts) == ["result"] * 1_000


async def test_a_stream_that_sends_faster_than_the_store_takes_is_read_more_slowly(
    backend: Backend,
) -> None:
    taken = 0

    async def requests() -> AsyncIterator[ExecuteRequest]:
        nonlocal taken
        for n in range(20):
            request = ExecuteRequest()
            request.commands.add().Pack(opening(f"a{n}"))
            taken += 1
            yield request

    async with running(backend, bulk_commands_max=5) as bank:
        bank.store.open.clear()
        method = next(m for m in bank.service.methods() if m.bidi_stream)
        assert method.bidi_stream is not None
        replies = method.bidi_stream(requests(), context())
        reply = asyncio.ensure_future(anext(replies))
        await until(lambda: taken >= 5)
        await settled(100)
        assert taken == 6
        bank.store.open.set()
        count = len((await reply).verdicts) + sum([len(r.verdicts) async for r in replies])
        assert count == 20


async def test_a_caller_that_goes_leaves_nothing_waiting(bank: BankService) -> None:
    await bank.call(opening())
    bank.store.open.clear()
    request = ExecuteRequest()
    for _ in range(10):
        request.commands.add().Pack(deposit())
    replies = bank.replies(request)
    reply = asyncio.ensure_future(anext(replies))
    await until(lambda: len(bank.store.appends) == 2)
    reply.cancel()
    await asyncio.gather(reply, return_exceptions=True)
    bank.store.open.set()
    await until(lambda: bank.service.waiting == 0)
    assert (await bank.call(deposit())).last_version == 12


async def test_commands_of_the_same_process_need_no_transport(bank: BankService) -> None:
    sent = [opening(), deposit(), withdrawal(amount=9), pb.AccountOpened(), deposit(command_id=" ")]
    sent += [deposit("b"), opening("b"), deposit("b")]
    verdicts = await bank.service.execute(sent)
    assert [v.place for v in verdicts] == [*range(8)]
    assert [v.command_id for v in verdicts[:3]] == [c.header.command_id for c in sent[:3]]
    kinds = [type(v.outcome) for v in verdicts]
    assert kinds[:2] == [Answer, Answer]
    assert [str(kind.__name__) for kind in kinds[2:4]] == ["RefusalError", "TypeUnknownError"]
    assert isinstance(verdicts[3].outcome, TypeUnknownError)
    assert [kind.__name__ for kind in kinds[5:]] == ["RefusalError", "Answer", "Answer"]


async def test_a_caller_that_does_not_read_its_verdicts_is_read_no_further(
    backend: Backend,
) -> None:
    taken = 0

    async def requests() -> AsyncIterator[ExecuteRequest]:
        nonlocal taken
        for n in range(100):
            request = ExecuteRequest()
            request.commands.add().Pack(opening(f"a{n}"))
            taken += 1
            yield request

    async with running(backend, bulk_commands_max=5) as bank:
        method = next(m for m in bank.service.methods() if m.bidi_stream)
        assert method.bidi_stream is not None
        replies = method.bidi_stream(requests(), context())
        count = len((await anext(replies)).verdicts)
        await until(lambda: taken > count)
        await until(lambda: bank.service.waiting == 0)
        await settled(100)
        assert taken - count <= 6
        count += sum([len(reply.verdicts) async for reply in replies])
        assert count == 100


async def test_a_command_that_finds_no_room_is_named_with_its_stream(backend: Backend) -> None:
    async with running(backend, waiting_commands_max=1) as bank:
        verdicts = await bank.execute([opening("a", "same"), opening("b", "same")])
        assert {v.stream: kind for v, kind in zip(verdicts, kinds(verdicts), strict=True)} == {
            "account/a": "result",
            "account/b": "ERROR_REASON_OVERLOADED",
        }


async def test_a_caller_of_the_same_process_that_goes_leaves_nothing_waiting(
    bank: BankService,
) -> None:
    await bank.call(opening())
    bank.store.open.clear()
    work = asyncio.create_task(bank.service.execute([deposit(command_id="one")]))
    await until(lambda: len(bank.store.appends) == 2)
    late = asyncio.create_task(bank.service.execute([deposit(command_id="late")]))
    await settled()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    bank.store.open.set()
    await work
    await until(lambda: bank.service.waiting == 0)
    assert [record.command_id for record in await bank.records()][1:] == ["one"]


async def test_more_commands_of_the_same_process_than_may_be_on_their_way_take_turns(
    backend: Backend,
) -> None:
    async with running(backend, bulk_commands_max=5) as bank:
        verdicts = await bank.service.execute([opening(f"a{n}") for n in range(50)])
        assert all(isinstance(verdict.outcome, Answer) for verdict in verdicts)
