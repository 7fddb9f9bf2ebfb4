"""The conformance kit: every platform passes it, and a platform with a fault does not."""

import asyncio
import json
import uuid
from typing import Any

import pytest
from grpc import aio

from bank.v1.account_pb2 import DepositRequest, DepositResponse, WithdrawRequest
from bank.v1.views_pb2 import GetAccountBalanceResponse, ListAccountBalancesRequest
from devstack.conformance.caller import Caller
from devstack.conformance.suite import (
    RULES,
    NotHostedError,
    UnreachableError,
    Verdict,
    examine,
    judge,
)
from devstack.embedded import Embedded
from domains.flights.domain import FLIGHTS
from eventspine.v1.command_pb2 import AppendRequest
from eventspine.v1.query_pb2 import ReadStreamRequest, ReadStreamResponse
from eventspine.v1.subscription_pb2 import SubscribeResponse
from tests.edge.fronted import free_address
from tests.journey.bent import Fault, bent
from tests.journey.command_line import run_process
from tests.journey.conftest import DOMAINS, Platform

pytestmark = pytest.mark.timeout(300)


async def verdicts(address: str, **how: Any) -> list[Verdict]:
    return [verdict async for verdict in examine(address, **how)]


def complaints(found: list[Verdict]) -> list[str]:
    return [f"{verdict.rule}: {verdict.found}" for verdict in found if not verdict.kept]


async def test_every_platform_keeps_every_rule_also_the_second_time(platform: Platform) -> None:
    for _ in range(2):
        found = await verdicts(platform.address)
        assert complaints(found) == []
        assert [verdict.rule for verdict in found] == [rule.sentence for rule in RULES]


def test_there_are_many_rules_and_each_has_a_sentence_of_its_own() -> None:
    assert len(RULES) >= 60
    assert len({rule.sentence for rule in RULES}) == len(RULES)


def forgets_who_sent_it(request: DepositRequest) -> None:
    if request.header.command_id:
        request.header.command_id = uuid.uuid4().hex


def tells_no_replay(response: DepositResponse) -> None:
    response.result.replayed = False


def ignores_the_expectation(request: DepositRequest) -> None:
    request.header.ClearField("expected")


def stores_a_dry_run(request: WithdrawRequest) -> None:
    request.header.dry_run = False


def loses_the_last_event(request: AppendRequest) -> None:
    if len(request.events) == 3:
        del request.events[-1]


def reads_forwards_only(request: ReadStreamRequest) -> None:
    request.ClearField("direction")


def changes_a_record(response: ReadStreamResponse) -> None:
    response.records[-1].append_time.nanos ^= 1_000


def is_always_stale(response: GetAccountBalanceResponse) -> None:
    response.result.stale = True


def begins_lists_anew(request: ListAccountBalancesRequest) -> None:
    request.ClearField("cursor")


def repeats_a_record(response: SubscribeResponse) -> None:
    if response.batch.records:
        response.batch.records.append(response.batch.records[-1])
        response.batch.sequences.append(response.batch.sequences[-1])


def loses_a_record(response: SubscribeResponse) -> None:
    if len(response.batch.records) > 1:
        del response.batch.records[0], response.batch.sequences[0]


def does_not_confirm(response: SubscribeResponse) -> None:
    if response.HasField("confirmation"):
        response.checkpoint.cursor = response.confirmation.cursor


FAULTS: list[tuple[Any, Any, str, str]] = [
    (forgets_who_sent_it, DepositRequest, "/Deposit", "a command sent again gets the first answer"),
    (tells_no_replay, DepositResponse, "/Deposit", "a command sent many times at once"),
    (ignores_the_expectation, DepositRequest, "/Deposit", "a conflict tells the version"),
    (stores_a_dry_run, WithdrawRequest, "/Withdraw", "a dry run tells what would be stored"),
    (loses_the_last_event, AppendRequest, "/Append", "an append stores all its events"),
    (reads_forwards_only, ReadStreamRequest, "/ReadStream", "a stream is read both ways"),
    (changes_a_record, ReadStreamResponse, "/ReadStream", "the chain of a stream can be computed"),
    (is_always_stale, GetAccountBalanceResponse, "/GetAccountBalance", "a query with a token"),
    (begins_lists_anew, ListAccountBalancesRequest, "/ListAccountBalances", "a list is in key"),
    (repeats_a_record, SubscribeResponse, "/Subscribe", "batches are in order within"),
    (loses_a_record, SubscribeResponse, "/Subscribe", "what is sent is what is stored"),
    (does_not_confirm, SubscribeResponse, "/Subscribe", "the first message confirms"),
]


@pytest.mark.parametrize(
    ("bend", "kind", "method", "rule"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS]
)
async def test_a_platform_with_a_fault_breaks_the_rule_that_forbids_it(
    bend: Any, kind: Any, method: str, rule: str
) -> None:
    (broken,) = [known for known in RULES if known.sentence.startswith(rule)]
    async with Embedded(DOMAINS) as platform:
        async with bent(platform.address, None) as address, aio.insecure_channel(address) as right:
            found = await judge(broken, Caller(right), "right")
            assert (found.kept, found.found) == (True, "")
        fault = Fault(method, kind, bend)
        async with bent(platform.address, fault) as address, aio.insecure_channel(address) as wrong:
            found = await judge(broken, Caller(wrong), "wrong", timeout_seconds=4)
            assert not found.kept
            assert found.found


async def test_the_command_line_tells_which_rules_are_broken_and_ends_with_1() -> None:
    fault = Fault("/ReadStream", ReadStreamRequest, reads_forwards_only)
    async with Embedded(DOMAINS) as platform, bent(platform.address, fault) as address:
        ran = await asyncio.to_thread(run_process, "conformance", address, address="")
        as_json = await asyncio.to_thread(run_process, "conformance", address, "--json", address="")
    broken = [line for line in ran.out.splitlines() if line.startswith("BROKEN")]
    assert (ran.code, ran.err, len(broken)) == (1, "", 1)
    assert broken[0].startswith("BROKEN queries: a stream is read both ways")
    assert f"{len(RULES) - 1} of {len(RULES)} rules are kept at {address}" in ran.out
    lines = [json.loads(line) for line in as_json.out.splitlines()]
    assert [line["rule"] for line in lines[:-1] if not line["kept"]] == [
        broken[0].removeprefix("BROKEN queries: ")
    ]
    assert (as_json.code, lines[-1]["rules"], lines[-1]["broken"]) == (1, len(RULES), 1)


async def test_where_nothing_answers_or_the_bank_is_not_hosted_nothing_is_examined() -> None:
    with pytest.raises(UnreachableError, match="nothing answers at"):
        await verdicts(free_address(), connect_seconds=0.5)
    async with Embedded([]) as platform:
        with pytest.raises(UnreachableError, match="nothing answers at"):
            await verdicts(platform.address, queries=free_address(), connect_seconds=0.5)
    async with Embedded([FLIGHTS]) as platform:
        with pytest.raises(NotHostedError, match=r"the bank domain is not hosted at .*bank\.v1"):
            await verdicts(platform.address)


def test_the_command_line_ends_with_4_where_nothing_answers() -> None:
    ran = run_process("conformance", free_address(), address="")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith("eventspine: nothing answers at")
