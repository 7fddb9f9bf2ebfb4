"""The bank's views over gRPC: one row, lists that go on anywhere, and rows that are watched."""

import asyncio
from typing import Any

import pytest

from bank.v1 import account_pb2 as bank
from bank.v1 import views_pb2
from eventspine.v1.query_pb2 import ListRowsRequest, QueryHeader
from tests.journey.user import BALANCES, User, collected, header, refusal, showing, told

ACCOUNTS = sorted(f"acc-{n}" for n in range(25))
STATEMENT = "bank.v1.StatementLine"


async def filled(user: User) -> str:
    """Opens 25 accounts with their number in cents; returns a token for all of it."""
    tokens = []
    for account in ACCOUNTS:
        cents = int(account.removeprefix("acc-")) + 1
        tokens.append((await user.open(account, cents=cents)).token)
    return "~".join(tokens)


async def test_a_balance_is_answered_with_how_fresh_it_is(user: User) -> None:
    token = (await user.open("ann", cents=5, owner="Ann A.")).token
    reply = await user.balance("ann", **showing(token))
    assert reply.row == views_pb2.AccountBalance(account_id="ann", owner="Ann A.", balance_cents=5)
    assert (reply.result.stale, reply.result.lag_events, reply.result.build) == (False, 0, 1)
    assert sum(place.sequence for place in reply.result.progress) == 2
    absent = await refusal(user.balance("bob"))
    assert told(absent) == "NOT_FOUND ROW_NOT_FOUND"
    assert "bob" in absent.status.message


async def test_a_list_is_in_the_order_of_its_key_and_says_once_how_fresh_it_is(user: User) -> None:
    token = await filled(user)
    request = views_pb2.ListAccountBalancesRequest(header=QueryHeader(**showing(token)))
    batches = await collected(user.balances.ListAccountBalances(request))
    rows = [row for batch in batches for row in batch.rows]
    assert [row.account_id for row in rows] == ACCOUNTS
    assert [batch.HasField("result") for batch in batches] == [True, *[False] * (len(batches) - 1)]
    assert batches[-1].cursor == ""


@pytest.mark.parametrize("limit", [1, 7, 24, 25, 26])
async def test_a_list_of_any_limit_goes_on_where_it_stopped(user: User, limit: int) -> None:
    token = await filled(user)
    head = QueryHeader(**showing(token))
    found: list[str] = []
    cursor, pages = "", 0
    while not pages or cursor:
        request = views_pb2.ListAccountBalancesRequest(header=head, limit=limit, cursor=cursor)
        batches = await collected(user.balances.ListAccountBalances(request))
        page = [row.account_id for batch in batches for row in batch.rows]
        assert len(page) <= limit
        found += page
        cursor = batches[-1].cursor
        pages += 1
        if pages == 1:
            # What is written before the place is not seen, nothing after it is lost or repeated.
            await user.open("aaa")
    assert found == ACCOUNTS


async def test_a_statement_is_listed_by_account_and_version(user: User) -> None:
    token = await filled(user)
    for cents in (10, 20, 30):
        token = (await user.deposit("acc-3", cents)).token
    request = views_pb2.ListStatementLinesRequest(
        header=QueryHeader(**showing(token)), account_id="acc-3"
    )
    (batch,) = await collected(user.balances.ListStatementLines(request))
    lines = [(line.stream_version, line.kind, line.change_cents) for line in batch.rows]
    assert lines == [
        (1, "AccountOpened", 0),
        (2, "MoneyDeposited", 4),
        (3, "MoneyDeposited", 10),
        (4, "MoneyDeposited", 20),
        (5, "MoneyDeposited", 30),
    ]
    records = await user.records("account/acc-3")
    assert [line.append_time for line in batch.rows] == [record.append_time for record in records]


async def test_rows_of_any_view_are_listed_by_a_prefix_of_their_key(user: User) -> None:
    token = await filled(user)
    head = QueryHeader(**showing(token))

    async def listed(**fields: Any) -> list[tuple[str, int]]:
        batches = await collected(user.queries.ListRows(ListRowsRequest(header=head, **fields)))
        row, found = views_pb2.StatementLine(), []
        for packed in [packed for batch in batches for packed in batch.rows]:
            assert packed.Unpack(row)
            found.append((row.account_id, row.stream_version))
        return found

    whole = await listed(view=STATEMENT)
    assert whole == [(account, version) for account in ACCOUNTS for version in (1, 2)]
    assert await listed(view=STATEMENT, key_prefix=["acc-3"]) == [("acc-3", 1), ("acc-3", 2)]
    assert await listed(view=STATEMENT, key_prefix=["acc-3", "2"]) == [("acc-3", 2)]
    assert await listed(view=STATEMENT, key_prefix=["acc-"]) == []
    assert await listed(view=STATEMENT, limit=3) == whole[:3]


async def test_a_watch_shows_the_row_before_it_is_there_and_each_change(user: User) -> None:
    request = views_pb2.WatchAccountBalanceRequest(account_id="ann")
    watch = user.balances.WatchAccountBalance(request)
    async with asyncio.timeout(10):
        first = await watch.read()
        assert first.absent
        await user.open("ann")
        assert (await watch.read()).row.owner == "Ann"
        for total, cents in ((5, 5), (11, 6)):
            result = await user.deposit("ann", cents)
            change = await watch.read()
            assert (change.row.balance_cents, change.absent, change.checkpoint) == (
                total,
                False,
                False,
            )
            assert result.last_version > 1
            assert change.result.build == 1
    watch.cancel()


async def test_a_watch_of_a_closed_account_ends_with_the_state_that_lasts(user: User) -> None:
    """A reader that is slow may miss steps between, never the last one."""
    await user.open("ann")
    watch = user.balances.WatchAccountBalance(
        views_pb2.WatchAccountBalanceRequest(account_id="ann")
    )
    for _ in range(50):
        await user.deposit("ann", 1)
    withdraw = bank.WithdrawRequest(header=header(), account_id="ann", amount_cents=50)
    await user.accounts.Withdraw(withdraw)
    await user.accounts.CloseAccount(bank.CloseAccountRequest(header=header(), account_id="ann"))
    async with asyncio.timeout(10):
        seen = [-1]
        while not (change := await watch.read()).row.closed:
            seen.append(change.row.balance_cents)
    assert change.row.balance_cents == 0
    assert seen[1:] and max(seen) <= 50
    watch.cancel()


async def test_totals_are_one_row_fed_by_all_accounts(user: User) -> None:
    token = await filled(user)
    request = views_pb2.GetBankTotalsRequest(header=QueryHeader(**showing(token)), bank="bank")
    row = (await user.balances.GetBankTotals(request)).row
    assert (row.open_accounts, row.balance_cents) == (25, sum(range(1, 26)))


async def test_a_view_that_nobody_declares_is_not_found(user: User) -> None:
    error = await refusal(collected(user.queries.ListRows(ListRowsRequest(view=BALANCES + "s"))))
    assert told(error) == "NOT_FOUND VIEW_NOT_FOUND"
