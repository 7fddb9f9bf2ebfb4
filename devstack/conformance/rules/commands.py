"""Rules of typed commands: once in effect, expectations, refusals, dry runs, waiting for views."""

import asyncio

from google.protobuf.empty_pb2 import Empty

from bank.v1 import account_pb2 as bank
from devstack.conformance.caller import (
    BALANCES,
    Caller,
    depositing,
    opening,
    projected,
    withdrawing,
)
from devstack.conformance.rule import holds, refused, same
from eventspine.v1.command_pb2 import CommandResult
from eventspine.v1.record_pb2 import Expectation

MALFORMED = "INVALID_ARGUMENT INVALID_REQUEST"
CONFLICT = "ABORTED STREAM_VERSION_CONFLICT"
REUSED = "ALREADY_EXISTS COMMAND_ID_REUSED"
POOR = "FAILED_PRECONDITION ACCOUNT_REFUSAL_INSUFFICIENT_FUNDS"


async def a_command_stores_its_event_and_tells_stream_version_and_token(
    caller: Caller, own: str
) -> None:
    for version, result in enumerate([await caller.open(own), await caller.deposit(own, 7)], 1):
        found = (result.stream, result.last_version, result.event_count, result.replayed)
        same("stream, version, events and replayed", found, (f"account/{own}", version, 1, False))
        holds("the result has a token", result.token)
    types = [record.type for record in await caller.records(f"account/{own}")]
    same("the types stored", types, ["bank.v1.AccountOpened", "bank.v1.MoneyDeposited"])


async def a_command_sent_again_gets_the_first_answer_and_stores_nothing(
    caller: Caller, own: str
) -> None:
    await caller.open(own)
    command = depositing(own, 100)
    first = (await caller.accounts.Deposit(command)).result
    await caller.deposit(own, 7)
    again = (await caller.accounts.Deposit(command)).result
    same("`replayed` of both answers", (first.replayed, again.replayed), (False, True))
    again.replayed = False
    same("the second answer", again, first)
    same("the events stored", len(await caller.records(f"account/{own}")), 3)


async def a_command_sent_many_times_at_once_takes_effect_once(caller: Caller, own: str) -> None:
    await caller.open(own)
    command = depositing(own, 100)
    calls = [asyncio.ensure_future(send(caller, command)) for _ in range(8)]
    results = await asyncio.gather(*calls)
    same("the versions answered", {result.last_version for result in results}, {2})
    same("the answers not replayed", [r.replayed for r in results].count(False), 1)
    same("the events stored", len(await caller.records(f"account/{own}")), 2)


async def send(caller: Caller, command: bank.DepositRequest) -> CommandResult:
    """Sends a deposit; returns its result."""
    return (await caller.accounts.Deposit(command)).result


async def a_command_id_with_other_content_is_refused(caller: Caller, own: str) -> None:
    await caller.open(own)
    await caller.deposit(own, 100, command_id="mine")
    await refused(caller.deposit(own, 101, command_id="mine"), REUSED)
    await refused(caller.withdraw(own, 100, command_id="mine"), REUSED)
    same("the events stored", len(await caller.records(f"account/{own}")), 2)


async def a_command_id_with_another_expectation_is_refused(caller: Caller, own: str) -> None:
    await caller.open(own)
    await caller.deposit(own, 100, command_id="mine", expected=Expectation(version=1))
    call = caller.deposit(own, 100, command_id="mine", expected=Expectation(version=2))
    await refused(call, REUSED)


async def a_command_id_is_unique_in_its_stream_only(caller: Caller, own: str) -> None:
    for account in (own, own + "-other"):
        await caller.open(account)
        result = await caller.deposit(account, len(account), command_id="mine")
        same("version and replayed", (result.last_version, result.replayed), (2, False))


async def a_command_without_an_id_is_refused_and_the_field_named(caller: Caller, own: str) -> None:
    request = bank.OpenAccountRequest(account_id=own, owner="Ann")
    error = await refused(caller.accounts.OpenAccount(request), MALFORMED)
    same("the fields named", list(error.violations), ["header.command_id"])


async def an_id_longer_than_200_bytes_is_refused_and_the_field_named(
    caller: Caller, own: str
) -> None:
    error = await refused(caller.deposit(own, 1, command_id="x" * 201), MALFORMED)
    same("the fields named", list(error.violations), ["header.command_id"])


async def metadata_over_16_kib_is_refused_and_the_limit_told(caller: Caller, own: str) -> None:
    call = caller.deposit(own, 1, metadata={"key": "x" * 16 * 1024})
    error = await refused(call, "RESOURCE_EXHAUSTED LIMIT_EXCEEDED")
    same("the maximum told", error.metadata.get("maximum"), "16384")


async def a_refusal_is_the_domains_and_stores_nothing(caller: Caller, own: str) -> None:
    await refused(caller.deposit(own, 1), "NOT_FOUND ACCOUNT_REFUSAL_NOT_OPEN")
    await caller.open(own, cents=10)
    poor = await refused(caller.withdraw(own, 11), POOR)
    same("the domain of the refusal", poor.domain, "bank.v1")
    again = caller.accounts.OpenAccount(opening(own))
    await refused(again, "ALREADY_EXISTS ACCOUNT_REFUSAL_ALREADY_OPEN")
    await refused(caller.deposit(own, -1), "INVALID_ARGUMENT ACCOUNT_REFUSAL_AMOUNT_INVALID")
    same("the events stored", len(await caller.records(f"account/{own}")), 2)


async def a_command_that_was_refused_may_be_sent_again_and_succeed(
    caller: Caller, own: str
) -> None:
    await caller.open(own, cents=10)
    command = withdrawing(own, 15)
    await refused(caller.accounts.Withdraw(command), POOR)
    await caller.deposit(own, 5)
    result = (await caller.accounts.Withdraw(command)).result
    same("version and replayed", (result.last_version, result.replayed), (4, False))


async def a_conflict_tells_the_version_and_the_events_that_were_missed(
    caller: Caller, own: str
) -> None:
    await caller.open(own, cents=1)
    await caller.deposit(own, 2)
    await caller.deposit(own, 3)
    error = await refused(caller.deposit(own, 4, expected=Expectation(version=2)), CONFLICT)
    conflict = error.conflict
    if conflict is None:
        holds("the details have a VersionConflict", False)
        return
    same("stream, version", (conflict.stream, conflict.actual_version), (f"account/{own}", 4))
    same("the missed records", list(conflict.missed), (await caller.records(conflict.stream))[2:])
    result = await caller.deposit(own, 4, expected=Expectation(version=conflict.actual_version))
    same("the version after sending again", result.last_version, 5)


async def each_expectation_is_judged_on_a_stream_with_events(caller: Caller, own: str) -> None:
    await caller.open(own, cents=5)
    for wrong in (
        Expectation(version=1),
        Expectation(version=3),
        Expectation(no_stream=Empty()),
    ):
        error = await refused(caller.deposit(own, 1, expected=wrong), CONFLICT)
        version = error.conflict.actual_version if error.conflict else None
        same("the actual version", version, 2)
    for last, right in enumerate(
        (Expectation(version=2), Expectation(stream_exists=Empty()), Expectation(any=Empty())), 3
    ):
        result = await caller.deposit(own, 1, expected=right)
        same("the version after it", result.last_version, last)


async def each_expectation_is_judged_on_a_stream_without_events(caller: Caller, own: str) -> None:
    for wrong in (Expectation(version=1), Expectation(stream_exists=Empty())):
        await refused(caller.accounts.OpenAccount(opening(own, expected=wrong)), CONFLICT)
    for number, right in enumerate((Expectation(no_stream=Empty()), Expectation(any=Empty()))):
        command = opening(f"{own}-{number}", expected=right)
        result = (await caller.accounts.OpenAccount(command)).result
        same("the version after it", result.last_version, 1)


async def an_expectation_without_a_kind_is_refused(caller: Caller, own: str) -> None:
    await caller.open(own)
    await refused(caller.deposit(own, 1, expected=Expectation()), MALFORMED)


async def of_callers_that_expect_the_same_version_one_wins(caller: Caller, own: str) -> None:
    await caller.open(own)
    calls = [
        asyncio.ensure_future(send(caller, depositing(own, n, expected=Expectation(version=1))))
        for n in range(1, 11)
    ]
    done = await asyncio.gather(*calls, return_exceptions=True)
    won = [result for result in done if not isinstance(result, BaseException)]
    same("the versions of those that won", [result.last_version for result in won], [2])
    same("the events stored", len(await caller.records(f"account/{own}")), 2)


async def a_dry_run_tells_what_would_be_stored_and_stores_nothing(caller: Caller, own: str) -> None:
    await caller.open(own, cents=10)
    command = withdrawing(own, 4, dry_run=True)
    result = (await caller.accounts.Withdraw(command)).result
    event = bank.MoneyWithdrawn()
    same("the types told", [any_.Unpack(event) for any_ in result.would_append], [True])
    same("the event told", event, bank.MoneyWithdrawn(account_id=own, amount_cents=4))
    found = (result.last_version, result.event_count, result.token)
    same("version, events and token", found, (2, 0, ""))
    await refused(caller.withdraw(own, 11, dry_run=True), POOR)
    same("the events stored", len(await caller.records(f"account/{own}")), 2)
    command.header.dry_run = False
    result = (await caller.accounts.Withdraw(command)).result
    found_again = (result.last_version, result.replayed)
    same("version and replayed of the same id in earnest", found_again, (3, False))


async def an_answer_waits_until_the_named_view_shows_its_event(caller: Caller, own: str) -> None:
    await caller.open(own)
    for total in range(1, 6):
        result = await caller.deposit(own, 1, wait_for=projected(BALANCES))
        holds("the answer says that the view shows it", result.projected)
        same("the balance", (await caller.balance(own)).row.balance_cents, total)


async def a_wait_for_a_view_that_nobody_declares_or_for_too_long_is_refused(
    caller: Caller, own: str
) -> None:
    await caller.open(own)
    await refused(caller.deposit(own, 1, wait_for=projected("no.Such")), MALFORMED)
    await refused(caller.deposit(own, 1, wait_for=projected(seconds=31)), MALFORMED)
    same("the events stored", len(await caller.records(f"account/{own}")), 1)


RULES = (
    a_command_stores_its_event_and_tells_stream_version_and_token,
    a_command_sent_again_gets_the_first_answer_and_stores_nothing,
    a_command_sent_many_times_at_once_takes_effect_once,
    a_command_id_with_other_content_is_refused,
    a_command_id_with_another_expectation_is_refused,
    a_command_id_is_unique_in_its_stream_only,
    a_command_without_an_id_is_refused_and_the_field_named,
    an_id_longer_than_200_bytes_is_refused_and_the_field_named,
    metadata_over_16_kib_is_refused_and_the_limit_told,
    a_refusal_is_the_domains_and_stores_nothing,
    a_command_that_was_refused_may_be_sent_again_and_succeed,
    a_conflict_tells_the_version_and_the_events_that_were_missed,
    each_expectation_is_judged_on_a_stream_with_events,
    each_expectation_is_judged_on_a_stream_without_events,
    an_expectation_without_a_kind_is_refused,
    of_callers_that_expect_the_same_version_one_wins,
    a_dry_run_tells_what_would_be_stored_and_stores_nothing,
    an_answer_waits_until_the_named_view_shows_its_event,
    a_wait_for_a_view_that_nobody_declares_or_for_too_long_is_refused,
)
