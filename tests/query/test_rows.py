"""Rows are answered by key and in order, in bounded batches, as fresh as was demanded."""

import asyncio
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from bank.v1 import views_pb2 as views
from eventspine.rpc.errors import (
    CursorExpiredError,
    CursorInvalidError,
    InvalidRequestError,
    RowNotFoundError,
    ViewBehindError,
    ViewNotFoundError,
)
from eventspine.rpc.token import encode_token
from eventspine.storage.records import Build, StreamPlace
from eventspine.v1.query_pb2 import ListRowsRequest, ListRowsResponse, QueryHeader, StalePolicy
from tests.query.conftest import Make
from tests.query.world import BALANCES, World

LINES = "bank.v1.StatementLine"
TOTALS = "bank.v1.BankTotals"
FAIL, ANSWER, IMMEDIATE = (
    StalePolicy.STALE_POLICY_FAIL,
    StalePolicy.STALE_POLICY_ANSWER,
    StalePolicy.STALE_POLICY_IMMEDIATE,
)


def balance(account: str, cents: int = 1) -> views.AccountBalance:
    return views.AccountBalance(account_id=account, balance_cents=cents)


async def get(world: World, account: str, **header: Any) -> views.GetAccountBalanceResponse:
    request = views.GetAccountBalanceRequest(account_id=account, header=QueryHeader(**header))
    return await world.ask("GetAccountBalance", request, views.GetAccountBalanceResponse)


async def list_balances(world: World, **fields: Any) -> list[Any]:
    request = views.ListAccountBalancesRequest(**fields)
    return await world.stream(
        "ListAccountBalances", request, views.ListAccountBalancesResponse
    ).all()


async def list_lines(world: World, **fields: Any) -> list[Any]:
    request = views.ListStatementLinesRequest(**fields)
    return await world.stream("ListStatementLines", request, views.ListStatementLinesResponse).all()


async def list_rows(world: World, **fields: Any) -> list[ListRowsResponse]:
    return await world.stream("ListRows", ListRowsRequest(**fields), ListRowsResponse).all()


async def with_balances(world: World, count: int) -> list[str]:
    await world.serve(BALANCES)
    accounts = [f"a{number:04}" for number in range(count)]
    rows = {(account,): balance(account, place) for place, account in enumerate(accounts, 1)}
    await world.project(rows, 1)
    return accounts


async def with_lines(world: World) -> None:
    await world.serve(LINES)
    rows = {
        (account, version): views.StatementLine(account_id=account, stream_version=version)
        for account in ("al", "ali", "alice", "bob")
        for version in range(1, 301)
    }
    await world.project(rows, 1, build_id=f"{LINES}@1")


def rows_of(batches: list[Any]) -> list[Any]:
    return [row for batch in batches for row in batch.rows]


async def test_get_answers_the_stored_row_and_how_fresh_it_is(world: World) -> None:
    await world.deposit("alice", 3)
    await world.settled()
    await world.serve(BALANCES)
    entry = world.written[0]
    await world.project({("alice",): balance("alice", 7)}, 2, partition=entry.partition)
    response = await get(world, "alice")
    assert response.row == balance("alice", 7)
    assert not response.result.stale
    assert response.result.lag_events == 1
    assert response.result.build == 1
    assert response.result.progress[entry.partition].sequence == 2


async def test_a_row_that_is_not_there_is_named_by_its_key(world: World) -> None:
    await with_balances(world, 1)
    with pytest.raises(RowNotFoundError, match="nobody") as raised:
        await get(world, "nobody")
    assert raised.value.metadata["key"] == '["nobody"]'


async def test_a_row_that_was_deleted_is_not_there(world: World) -> None:
    await with_balances(world, 1)
    await world.project({("a0000",): None}, 2)
    with pytest.raises(RowNotFoundError):
        await get(world, "a0000")


async def test_a_key_without_its_text_is_refused_by_field(world: World) -> None:
    await with_balances(world, 1)
    with pytest.raises(InvalidRequestError, match="account_id: is missing"):
        await get(world, "")
    with pytest.raises(InvalidRequestError, match="account_id: is missing"):
        await list_lines(world)


async def test_a_view_without_a_build_that_serves_is_not_found(world: World) -> None:
    with pytest.raises(ViewNotFoundError, match="no build that serves"):
        await get(world, "alice")


async def test_rows_that_partials_make_are_merged_by_the_code_of_the_view(world: World) -> None:
    await world.serve(TOTALS)
    for partition in range(world.partitions):
        row = views.BankTotals(bank="bank", open_accounts=2, deposited_cents=10)
        await world.project({("bank",): row}, 1, partition=partition, build_id=f"{TOTALS}@1")
    request = views.GetBankTotalsRequest(bank="bank")
    response = await world.ask("GetBankTotals", request, views.GetBankTotalsResponse)
    assert response.row.open_accounts == 2 * world.partitions
    assert response.row.deposited_cents == 10 * world.partitions


async def test_a_list_is_in_key_order_in_batches_and_says_how_fresh_it_is_once(
    world: World,
) -> None:
    accounts = await with_balances(world, 1_203)
    batches = await list_balances(world)
    assert [row.account_id for row in rows_of(batches)] == accounts
    assert all(1 <= len(batch.rows) <= 500 for batch in batches)
    assert [batch.HasField("result") for batch in batches] == [True] + [False] * (len(batches) - 1)
    assert all(batch.cursor for batch in batches[:-1])
    assert not batches[-1].cursor


async def test_a_list_goes_on_after_any_of_its_batches(world: World) -> None:
    accounts = await with_balances(world, 1_203)
    seen = 0
    for batch in await list_balances(world):
        seen += len(batch.rows)
        if batch.cursor:
            rest = rows_of(await list_balances(world, cursor=batch.cursor))
            assert [row.account_id for row in rest] == accounts[seen:]


@pytest.mark.parametrize("limit", [1, 7, 500, 501, 1_202, 1_203, 1_204, (1 << 32) - 1])
async def test_pages_of_any_limit_make_the_whole_list(world: World, limit: int) -> None:
    count = 23 if limit < 10 else 1_203
    accounts = await with_balances(world, count)
    got: list[str] = []
    cursor = ""
    while True:
        batches = await list_balances(world, limit=limit, cursor=cursor)
        rows = rows_of(batches)
        assert len(rows) == min(limit, count - len(got))
        got += [row.account_id for row in rows]
        cursor = batches[-1].cursor
        if not cursor:
            break
    assert got == accounts


async def test_a_list_without_rows_is_one_empty_batch(world: World) -> None:
    await world.serve(BALANCES)
    batches = await list_balances(world)
    assert len(batches) == 1
    assert not batches[0].rows
    assert batches[0].HasField("result")
    assert not batches[0].cursor


async def test_large_rows_come_in_batches_of_about_a_mebibyte(world: World) -> None:
    await world.serve(BALANCES)
    rows = {
        (f"a{place}",): views.AccountBalance(account_id=f"a{place}", owner="o" * 300_000)
        for place in range(10)
    }
    await world.project(rows, 1)
    batches = await list_balances(world)
    assert [row.account_id for row in rows_of(batches)] == [f"a{place}" for place in range(10)]
    assert all(batch.ByteSize() < 1_100_000 for batch in batches)
    resumed = await list_balances(world, cursor=batches[0].cursor)
    assert len(rows_of(resumed)) == 10 - len(batches[0].rows)


async def test_a_list_holds_only_the_rows_of_its_prefix_ordered_by_number(world: World) -> None:
    await with_lines(world)
    rows = rows_of(await list_lines(world, account_id="ali"))
    assert {row.account_id for row in rows} == {"ali"}
    assert [row.stream_version for row in rows] == list(range(1, 301))


async def test_any_view_is_listed_by_the_text_of_its_leading_key_values(world: World) -> None:
    await with_lines(world)
    one = rows_of(await list_rows(world, view=LINES, key_prefix=["al", "299"]))
    line = views.StatementLine()
    assert one[0].Unpack(line)
    assert (line.account_id, line.stream_version, len(one)) == ("al", 299, 1)
    assert len(rows_of(await list_rows(world, view=LINES, key_prefix=["al"]))) == 300
    assert len(rows_of(await list_rows(world, view=LINES))) == 1_200
    assert len(rows_of(await list_rows(world, view=LINES, build=1, limit=5))) == 5


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"view": "bank.v1.Nothing"}, ViewNotFoundError, "no hosted domain declares"),
        ({"view": ""}, ViewNotFoundError, "no hosted domain declares"),
        ({"view": LINES, "build": 9}, ViewNotFoundError, "no build 9"),
        ({"view": LINES, "key_prefix": ["a", "1", "2"]}, InvalidRequestError, "has 3 values"),
        ({"view": LINES, "key_prefix": ["a", "x"]}, InvalidRequestError, "whole number"),
        ({"view": LINES, "key_prefix": ["a", "-1"]}, InvalidRequestError, "from 0 to"),
        ({"view": LINES, "key_prefix": ["a", "9" * 5_000]}, InvalidRequestError, "from 0 to"),
        ({"view": LINES, "cursor": "garbage"}, CursorInvalidError, "not made by this platform"),
    ],
)
async def test_a_malformed_list_is_refused_by_name(
    world: World, fields: dict[str, Any], error: type[Exception], text: str
) -> None:
    await with_lines(world)
    with pytest.raises(error, match=text):
        await list_rows(world, **fields)


async def test_a_cursor_serves_only_the_request_that_it_was_made_for(make: Make) -> None:
    world, other = await make(), await make()
    for each in (world, other):
        await with_lines(each)
        await each.serve(BALANCES)
    cursor = (await list_lines(world, account_id="alice", limit=3))[-1].cursor
    assert len(rows_of(await list_lines(world, account_id="alice", cursor=cursor))) == 297
    with pytest.raises(CursorInvalidError, match="another request"):
        await list_lines(world, account_id="bob", cursor=cursor)
    with pytest.raises(CursorInvalidError, match="another request"):
        await list_balances(world, cursor=cursor)
    with pytest.raises(CursorInvalidError, match="another request"):
        await list_rows(world, view=LINES, key_prefix=["alice"], build=2, cursor=cursor)
    with pytest.raises(CursorExpiredError, match="another store"):
        await list_lines(other, account_id="alice", cursor=cursor)


async def test_a_list_stays_with_its_build_over_a_switch_until_that_is_retired(
    world: World,
) -> None:
    accounts = await with_balances(world, 5)
    cursor = (await list_balances(world, limit=2))[-1].cursor
    await world.project({("other",): balance("other")}, 1, build_id=f"{BALANCES}@2")
    await world.serve(BALANCES, Build(1, 1, "standby", False), Build(2, 1, "serving", False))
    await world.follow_changes()
    batches = await list_balances(world, cursor=cursor)
    assert [row.account_id for row in rows_of(batches)] == accounts[2:]
    assert batches[0].result.build == 1
    assert [row.account_id for row in rows_of(await list_balances(world))] == ["other"]
    await world.serve(BALANCES, Build(2, 1, "serving", False))
    await world.follow_changes()
    with pytest.raises(CursorExpiredError, match="retired"):
        await list_balances(world, cursor=cursor)


async def test_a_build_that_is_retired_while_it_is_listed_ends_the_list_with_an_error(
    world: World,
) -> None:
    await with_balances(world, 1_203)
    request = views.ListAccountBalancesRequest()
    reader = world.stream("ListAccountBalances", request, views.ListAccountBalancesResponse)
    await reader.next()
    await world.serve(BALANCES, Build(2, 1, "serving", False))
    await world.backend.views.drop(f"{BALANCES}@1")
    with pytest.raises(CursorExpiredError, match="retired"):
        await reader.all()


async def test_a_list_ends_with_an_error_though_its_retired_build_is_not_forgotten_yet(
    world: World,
) -> None:
    await with_balances(world, 1_203)
    request = views.ListAccountBalancesRequest()
    reader = world.stream("ListAccountBalances", request, views.ListAccountBalancesResponse)
    await reader.next()
    # As the processor retires it: set aside, deleted, and then forgotten.
    await world.serve(BALANCES, Build(1, 1, "building", True), Build(2, 1, "serving", False))
    await world.backend.views.drop(f"{BALANCES}@1")
    with pytest.raises(CursorExpiredError, match="retired"):
        await reader.all()


async def test_a_build_whose_progress_the_store_is_told_later_is_not_taken_for_retired(
    world: World,
) -> None:
    await with_balances(world, 3)

    begun = await world.backend.views.progress(f"{BALANCES}@1")

    async def none_yet(build_id: str) -> tuple[int, ...]:
        return (0,) * len(begun)

    world.backend.views.progress = none_yet  # type: ignore[method-assign] # as of a store that is told later
    found = await list_rows(world, view=BALANCES, key_prefix=["nobody"])
    assert [row for batch in found for row in batch.rows] == []


async def test_a_get_that_waits_for_a_token_answers_from_the_build_that_serves_then(
    world: World,
) -> None:
    await with_balances(world, 2)
    text, partition, _ = await token(world, "a0001", 3)
    asking = asyncio.ensure_future(
        get(world, "a0001", token=text, stale_policy=ANSWER, max_wait=Duration(nanos=50_000_000))
    )
    await asyncio.sleep(0)
    row = {("a0001",): balance("a0001", 9)}
    await world.project(row, 1_000, partition=partition, build_id=f"{BALANCES}@2")
    await world.serve(BALANCES, Build(2, 1, "serving", False))
    await world.backend.views.drop(f"{BALANCES}@1")
    response = await asking
    assert response.row.balance_cents == 9
    assert (response.result.build, response.result.stale) == (2, False)


async def test_a_row_is_found_though_its_build_is_retired_before_it_is_read(world: World) -> None:
    await with_balances(world, 1)
    await get(world, "a0000")
    await world.project({("a0000",): balance("a0000", 9)}, 1, build_id=f"{BALANCES}@2")
    await world.serve(BALANCES, Build(2, 1, "serving", False))
    await world.backend.views.drop(f"{BALANCES}@1")
    assert (await get(world, "a0000")).row.balance_cents == 9


async def token(world: World, account: str, count: int = 1) -> tuple[str, int, int]:
    """Writes events; returns their token and their place in the log."""
    last = (await world.deposit(account, count))[-1]
    await world.settled()
    place = StreamPlace(last.stream, last.stream_version)
    text = encode_token(world.backend.identity.store_id, [place])
    return text, last.partition, last.sequence


async def test_a_query_with_a_token_answers_when_the_view_has_passed_it(world: World) -> None:
    await world.serve(BALANCES)
    text, partition, sequence = await token(world, "alice", 3)
    asking = asyncio.ensure_future(get(world, "alice", token=text, stale_policy=FAIL))
    await asyncio.sleep(0)
    assert not asking.done()
    row = {("alice",): balance("alice", 3)}
    await world.project(row, sequence, partition=partition)
    response = await asking
    assert response.row.balance_cents == 3
    assert not response.result.stale
    assert response.result.progress[partition].sequence == sequence


async def test_a_view_that_stays_behind_fails_or_answers_stale_as_the_caller_chose(
    world: World,
) -> None:
    await world.serve(BALANCES)
    await world.project({("alice",): balance("alice", 0)}, 1, partition=0)
    text, partition, _ = await token(world, "alice", 5)
    short = Duration(nanos=20_000_000)
    with pytest.raises(ViewBehindError) as raised:
        await get(world, "alice", token=text, stale_policy=FAIL, max_wait=short)
    lag = 4 if partition == 0 else 5
    assert raised.value.metadata["lag_events"] == str(lag)
    for policy in (ANSWER, IMMEDIATE):
        response = await get(world, "alice", token=text, stale_policy=policy, max_wait=short)
        assert response.result.stale
        assert response.result.lag_events == lag


async def test_a_view_is_behind_by_an_event_that_this_process_has_not_heard_of_yet(
    world: World,
) -> None:
    await world.serve(BALANCES)
    await world.project({("alice",): balance("alice", 0)}, 0)
    unheard = encode_token(world.backend.identity.store_id, [StreamPlace("account/alice", 1)])
    short = Duration(nanos=20_000_000)
    response = await get(world, "alice", token=unheard, stale_policy=ANSWER, max_wait=short)
    assert (response.result.stale, response.result.lag_events) == (True, 1)


async def test_an_immediate_answer_is_not_stale_when_the_view_has_passed_the_token(
    world: World,
) -> None:
    await world.serve(BALANCES)
    text, partition, sequence = await token(world, "alice")
    await world.project({("alice",): balance("alice")}, sequence, partition=partition)
    response = await get(world, "alice", token=text, stale_policy=IMMEDIATE)
    assert not response.result.stale


async def test_a_token_of_an_event_that_is_not_in_the_log_yet_is_waited_for(
    world: World,
) -> None:
    await world.serve(BALANCES)
    store_id = world.backend.identity.store_id
    text = encode_token(store_id, [StreamPlace("account/alice", 2)])
    asking = asyncio.ensure_future(get(world, "alice", token=text, stale_policy=FAIL))
    await asyncio.sleep(0)
    last = (await world.deposit("alice", 2))[-1]
    row = {("alice",): balance("alice", 2)}
    await world.project(row, last.sequence, partition=last.partition)
    assert (await asking).row.balance_cents == 2


async def test_joined_tokens_demand_all_that_they_stand_for(world: World) -> None:
    await world.serve(BALANCES)
    first, partition, sequence = await token(world, "alice")
    second, *_ = await token(world, "alice", 2)
    await world.project({("alice",): balance("alice")}, sequence, partition=partition)
    assert not (await get(world, "alice", token=first, stale_policy=IMMEDIATE)).result.stale
    both = f"{first}~{second}"
    assert (await get(world, "alice", token=both, stale_policy=IMMEDIATE)).result.stale


@pytest.mark.parametrize(
    ("header", "error", "text"),
    [
        ({"token": "garbage", "stale_policy": FAIL}, CursorInvalidError, "token"),
        ({"token": "t"}, InvalidRequestError, "header.stale_policy"),
        ({"stale_policy": 17}, InvalidRequestError, "header.stale_policy"),
        ({"max_wait": Duration(seconds=31)}, InvalidRequestError, "header.max_wait"),
        ({"max_wait": Duration(seconds=-1)}, InvalidRequestError, "header.max_wait"),
        (
            {
                "token": encode_token("0" * 32, [StreamPlace("account/alice", 1)]),
                "stale_policy": FAIL,
            },
            CursorExpiredError,
            "another store",
        ),
    ],
)
async def test_a_malformed_header_is_refused_by_name(
    world: World, header: dict[str, Any], error: type[Exception], text: str
) -> None:
    await world.serve(BALANCES)
    with pytest.raises(error, match=text):
        await get(world, "alice", **header)
    with pytest.raises(error, match=text):
        await list_balances(world, header=QueryHeader(**header))
