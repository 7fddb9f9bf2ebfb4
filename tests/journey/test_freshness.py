"""A query that demands what a command wrote, of a view that stands still and goes on again."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from bank.v1 import views_pb2
from bank.v1.views_pb2 import GetAccountBalanceResponse
from eventspine.v1.admin_pb2 import PauseViewRequest, ResumeViewRequest
from eventspine.v1.query_pb2 import (
    STALE_POLICY_ANSWER,
    STALE_POLICY_FAIL,
    STALE_POLICY_IMMEDIATE,
    ListRowsRequest,
    QueryHeader,
    QueryResult,
)
from tests.journey.user import BALANCES, User, collected, refusal, showing, told

BRIEF = Duration(nanos=150_000_000)
Query = Callable[[QueryHeader], Awaitable[QueryResult]]


async def behind(user: User) -> str:
    """Lets the balances stand still before a deposit; returns the deposit's token."""
    first = await user.open("ann", cents=10)
    await user.balance("ann", **showing(first.token))
    await user.admin.PauseView(PauseViewRequest(view=BALANCES))
    return (await user.deposit("ann", 5)).token


async def resume(user: User) -> None:
    await user.admin.ResumeView(ResumeViewRequest(view=BALANCES))


def asking(token: str, policy: Any, wait: Duration | None = BRIEF) -> dict[str, Any]:
    return {"token": token, "stale_policy": policy, "max_wait": wait}


async def timed(call: Awaitable[GetAccountBalanceResponse]) -> tuple[Any, float]:
    began = perf_counter()
    reply = await call
    return reply, perf_counter() - began


async def test_the_three_policies_of_a_view_that_is_behind(user: User) -> None:
    token = await behind(user)
    error = await refusal(user.balance("ann", **asking(token, STALE_POLICY_FAIL)))
    assert told(error) == "FAILED_PRECONDITION VIEW_BEHIND"
    assert error.metadata["lag_events"] == "1"
    answer, waited = await timed(user.balance("ann", **asking(token, STALE_POLICY_ANSWER)))
    assert (answer.result.stale, answer.result.lag_events) == (True, 1)
    assert answer.row.balance_cents == 10
    assert waited >= 0.15
    long = Duration(seconds=20)
    at_once, waited = await timed(
        user.balance("ann", **asking(token, STALE_POLICY_IMMEDIATE, long))
    )
    assert (at_once.result.stale, at_once.row.balance_cents) == (True, 10)
    assert waited < 5
    # Without a token any answer will do, and how far it is behind is told all the same.
    plain = await user.balance("ann")
    assert (plain.result.stale, plain.result.lag_events) == (False, 1)


async def test_waiting_queries_are_answered_when_the_view_goes_on(user: User) -> None:
    token = await behind(user)
    long = Duration(seconds=15)
    waiting = [
        asyncio.ensure_future(user.balance("ann", **asking(token, policy, long)))
        for policy in (STALE_POLICY_FAIL, STALE_POLICY_ANSWER) * 5
    ]
    done, _ = await asyncio.wait(waiting, timeout=0.1)
    assert not done
    await resume(user)
    for reply in await asyncio.gather(*waiting):
        assert (reply.row.balance_cents, reply.result.stale, reply.result.lag_events) == (
            15,
            False,
            0,
        )


async def test_joined_tokens_demand_every_command(user: User) -> None:
    before = (await user.open("bob", cents=3)).token
    await user.balance("bob", **showing(before))
    token = await behind(user)
    # Long, since another instance than the one asked before may still have to hear of it.
    long = Duration(seconds=10)
    fresh = await user.balance("ann", **asking(before, STALE_POLICY_FAIL, long))
    assert not fresh.result.stale
    for joined in (f"{before}~{token}", f"{token}~{before}"):
        error = await refusal(user.balance("ann", **asking(joined, STALE_POLICY_FAIL)))
        assert told(error) == "FAILED_PRECONDITION VIEW_BEHIND"
    await resume(user)
    reply = await user.balance("ann", **asking(f"{before}~{token}", STALE_POLICY_FAIL, long))
    assert reply.row.balance_cents == 15


async def test_lists_and_watches_honour_a_token_too(user: User) -> None:
    token = await behind(user)

    async def typed(head: QueryHeader) -> QueryResult:
        request = views_pb2.ListAccountBalancesRequest(header=head)
        return (await collected(user.balances.ListAccountBalances(request)))[0].result

    async def generic(head: QueryHeader) -> QueryResult:
        request = ListRowsRequest(header=head, view=BALANCES)
        return (await collected(user.queries.ListRows(request)))[0].result

    async def watched(head: QueryHeader) -> QueryResult:
        request = views_pb2.WatchAccountBalanceRequest(header=head, account_id="ann")
        watch = user.balances.WatchAccountBalance(request)
        try:
            return (await watch.read()).result
        finally:
            watch.cancel()

    queries: list[Query] = [typed, generic, watched]
    for query in queries:
        error = await refusal(query(QueryHeader(**asking(token, STALE_POLICY_FAIL))))
        assert told(error) == "FAILED_PRECONDITION VIEW_BEHIND"
        assert (await query(QueryHeader(**asking(token, STALE_POLICY_ANSWER)))).stale
    await resume(user)
    for query in queries:
        head = QueryHeader(**asking(token, STALE_POLICY_FAIL, Duration(seconds=10)))
        assert not (await query(head)).stale


async def test_other_views_are_not_held_up(user: User) -> None:
    token = await behind(user)
    request = views_pb2.GetBankTotalsRequest(header=QueryHeader(**showing(token)), bank="bank")
    reply = await user.balances.GetBankTotals(request)
    assert (reply.row.balance_cents, reply.result.stale) == (15, False)


@pytest.mark.parametrize("policy", [STALE_POLICY_FAIL, STALE_POLICY_ANSWER])
async def test_every_answer_shows_the_command_whose_token_it_got(user: User, policy: Any) -> None:
    total = 10
    await user.open("ann", cents=total)
    for cents in range(1, 40):
        token = (await user.deposit("ann", cents)).token
        total += cents
        reply = await user.balance("ann", **asking(token, policy, Duration(seconds=10)))
        assert (reply.row.balance_cents, reply.result.stale) == (total, False)
