"""Typed commands through generated stubs: what they do, once, and what a refusal says."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty

from bank.v1 import account_pb2 as bank
from eventspine.v1.admin_pb2 import PauseViewRequest, ResumeViewRequest
from eventspine.v1.command_pb2 import CommandResult, WaitFor
from eventspine.v1.query_pb2 import GetStreamRequest
from eventspine.v1.record_pb2 import Expectation
from tests.journey.user import (
    BALANCES,
    User,
    depositing,
    header,
    opening,
    projected,
    refusal,
    told,
    withdrawing,
)


async def version(user: User, stream: str) -> int:
    return (await user.queries.GetStream(GetStreamRequest(stream=stream))).last_version


async def test_an_account_is_opened_used_and_closed(user: User) -> None:
    results = [
        (await user.accounts.OpenAccount(opening("ann"))).result,
        (await user.accounts.Deposit(depositing("ann", 500))).result,
        (await user.accounts.Withdraw(withdrawing("ann", 500))).result,
        (
            await user.accounts.CloseAccount(
                bank.CloseAccountRequest(header=header(), account_id="ann")
            )
        ).result,
    ]
    assert [(r.stream, r.last_version, r.event_count) for r in results] == [
        ("account/ann", version, 1) for version in (1, 2, 3, 4)
    ]
    assert not any(r.replayed or r.projected or r.would_append for r in results)
    assert len({r.token for r in results}) == 4
    assert [record.type for record in await user.records("account/ann")] == [
        "bank.v1.AccountOpened",
        "bank.v1.MoneyDeposited",
        "bank.v1.MoneyWithdrawn",
        "bank.v1.AccountClosed",
    ]


async def test_a_refusal_is_that_of_the_domain_and_stores_nothing(user: User) -> None:
    await user.open("ann", cents=10)
    poor = await refusal(user.accounts.Withdraw(withdrawing("ann", 11)))
    assert told(poor) == "FAILED_PRECONDITION ACCOUNT_REFUSAL_INSUFFICIENT_FUNDS"
    assert (poor.domain, dict(poor.metadata)) == ("bank.v1", {"balance_cents": "10"})
    again = await refusal(user.accounts.OpenAccount(opening("ann")))
    assert told(again) == "ALREADY_EXISTS ACCOUNT_REFUSAL_ALREADY_OPEN"
    absent = await refusal(user.accounts.Deposit(depositing("bob", 1)))
    assert told(absent) == "NOT_FOUND ACCOUNT_REFUSAL_NOT_OPEN"
    wrong = await refusal(user.accounts.Deposit(depositing("ann", -1)))
    assert told(wrong) == "INVALID_ARGUMENT ACCOUNT_REFUSAL_AMOUNT_INVALID"
    assert await version(user, "account/ann") == 2


async def test_a_command_that_was_refused_may_be_sent_again_and_then_succeed(user: User) -> None:
    await user.open("ann", cents=10)
    command = withdrawing("ann", 15)
    await refusal(user.accounts.Withdraw(command))
    await user.deposit("ann", 5)
    result = (await user.accounts.Withdraw(command)).result
    assert (result.last_version, result.replayed) == (4, False)


async def test_the_same_command_again_gets_the_first_answer(user: User) -> None:
    await user.open("ann")
    command = depositing("ann", 100)
    first = (await user.accounts.Deposit(command)).result
    await user.deposit("ann", 7)
    again = (await user.accounts.Deposit(command)).result
    assert not first.replayed
    assert again.replayed
    again.replayed = False
    assert again == first
    assert await version(user, "account/ann") == 3


async def test_a_command_id_with_other_content_is_refused(user: User) -> None:
    await user.open("ann")
    await user.deposit("ann", 100, command_id="mine")
    other = await refusal(user.deposit("ann", 101, command_id="mine"))
    assert told(other) == "ALREADY_EXISTS COMMAND_ID_REUSED"
    verb = await refusal(user.accounts.Withdraw(withdrawing("ann", 100, command_id="mine")))
    assert told(verb) == "ALREADY_EXISTS COMMAND_ID_REUSED"
    assert await version(user, "account/ann") == 2
    # An id is unique in its stream only.
    assert (await user.open("bob", cents=100)).last_version == 2
    assert (await user.deposit("bob", 101, command_id="mine")).last_version == 3


async def test_a_conflict_tells_the_version_and_the_events_that_were_missed(user: User) -> None:
    await user.open("ann", cents=1)
    await user.deposit("ann", 2)
    await user.deposit("ann", 3)
    error = await refusal(user.deposit("ann", 4, expected=Expectation(version=2)))
    assert told(error) == "ABORTED STREAM_VERSION_CONFLICT"
    conflict = error.conflict
    assert conflict is not None
    assert (conflict.stream, conflict.actual_version) == ("account/ann", 4)
    assert list(conflict.missed) == (await user.records("account/ann"))[2:]
    assert not conflict.truncated
    result = await user.deposit("ann", 4, expected=Expectation(version=conflict.actual_version))
    assert result.last_version == 5


async def test_what_does_not_fit_into_a_status_is_left_out_and_said_so(user: User) -> None:
    await user.open("ann")
    for _ in range(60):
        await user.deposit("ann", 1)
    error = await refusal(user.deposit("ann", 1, expected=Expectation(version=1)))
    assert error.conflict is not None
    missed = error.conflict.missed
    assert 1 < len(missed) < 60
    assert list(missed) == (await user.records("account/ann"))[1 : 1 + len(missed)]
    assert (error.conflict.actual_version, error.conflict.truncated) == (61, True)


@pytest.mark.parametrize(
    ("expected", "on_new", "on_old"),
    [
        (Expectation(version=1), False, False),
        (Expectation(version=2), False, True),
        (Expectation(no_stream=Empty()), True, False),
        (Expectation(stream_exists=Empty()), False, True),
        (Expectation(any=Empty()), True, True),
    ],
    ids=["older", "version", "no_stream", "stream_exists", "any"],
)
async def test_each_kind_of_expectation_on_a_typed_command(
    user: User, expected: Expectation, on_new: bool, on_old: bool
) -> None:
    await user.open("old", cents=5)
    command = user.accounts.OpenAccount(opening("new", expected=expected))
    if on_new:
        assert (await command).result.last_version == 1
    else:
        assert told(await refusal(command)) == "ABORTED STREAM_VERSION_CONFLICT"
    if on_old:
        assert (await user.deposit("old", 1, expected=expected)).last_version == 3
    else:
        error = await refusal(user.deposit("old", 1, expected=expected))
        assert error.conflict is not None
        assert error.conflict.actual_version == 2


async def test_a_dry_run_decides_and_stores_nothing(user: User) -> None:
    await user.open("ann", cents=10)
    command = withdrawing("ann", 4, dry_run=True)
    result = (await user.accounts.Withdraw(command)).result
    event = bank.MoneyWithdrawn()
    assert [packed.Unpack(event) for packed in result.would_append] == [True]
    assert event == bank.MoneyWithdrawn(account_id="ann", amount_cents=4)
    assert (result.last_version, result.event_count, result.token) == (2, 0, "")
    refused = await refusal(user.accounts.Withdraw(withdrawing("ann", 11, dry_run=True)))
    assert told(refused) == "FAILED_PRECONDITION ACCOUNT_REFUSAL_INSUFFICIENT_FUNDS"
    assert await version(user, "account/ann") == 2
    # The id was not used up.
    command.header.dry_run = False
    assert (await user.accounts.Withdraw(command)).result.last_version == 3


async def test_an_answer_may_wait_until_views_show_the_events(user: User) -> None:
    await user.open("ann")
    for cents in range(1, 11):
        before = (await user.balance("ann")).row.balance_cents if cents > 1 else 0
        result = await user.deposit("ann", cents, wait_for=projected(BALANCES))
        assert result.projected
        assert (await user.balance("ann")).row.balance_cents == before + cents
    assert (await user.deposit("ann", 1, wait_for=projected())).projected


async def test_an_answer_that_waited_in_vain_says_so_and_the_events_are_stored(user: User) -> None:
    await user.open("ann")
    await user.admin.PauseView(PauseViewRequest(view=BALANCES))
    brief = WaitFor(views=[BALANCES], max_wait=Duration(nanos=50_000_000))
    command = depositing("ann", 5, wait_for=brief)
    result: CommandResult = (await user.accounts.Deposit(command)).result
    assert (result.last_version, result.projected) == (2, False)
    await user.admin.ResumeView(ResumeViewRequest(view=BALANCES))
    command.header.wait_for.CopyFrom(projected(BALANCES))
    again = (await user.accounts.Deposit(command)).result
    assert (again.last_version, again.replayed, again.projected) == (2, True, True)
