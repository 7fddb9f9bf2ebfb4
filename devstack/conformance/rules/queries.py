"""Rules of streams, states, views, tokens, and of what operators ask."""

from typing import Any

from google.protobuf.duration_pb2 import Duration

from bank.v1 import account_pb2 as bank
from bank.v1 import views_pb2
from devstack.conformance.caller import BALANCES, Caller, collected, depositing, showing
from devstack.conformance.rule import BrokenRuleError, holds, refused, same
from devstack.conformance.rules.commands import MALFORMED
from eventspine.v1.admin_pb2 import (
    BUILD_STATE_SERVING,
    GetStatusRequest,
    ListViewsRequest,
    VerifyRequest,
)
from eventspine.v1.query_pb2 import (
    DIRECTION_BACKWARDS,
    STALE_POLICY_ANSWER,
    STALE_POLICY_FAIL,
    STALE_POLICY_IMMEDIATE,
    GetStateRequest,
    GetStreamRequest,
    ListRowsRequest,
    QueryHeader,
    ReadStreamRequest,
)

STATEMENT = "bank.v1.StatementLine"
BAD_CURSOR = "INVALID_ARGUMENT CURSOR_INVALID"
NO_STREAM = "NOT_FOUND STREAM_NOT_FOUND"
LAST = 620
"""A version that takes more than one batch to read."""


async def a_stream_is_read_both_ways_from_any_version_up_to_a_limit(
    caller: Caller, own: str
) -> None:
    await caller.open(own)
    await caller.execute([depositing(own, 1) for _ in range(1, LAST)])

    async def read(**fields: Any) -> list[int]:
        request = ReadStreamRequest(stream=f"account/{own}", **fields)
        batches = await collected(caller.queries.ReadStream(request))
        holds("a batch has 1 to 500 records", all(0 < len(b.records) <= 500 for b in batches))
        return [record.stream_version for batch in batches for record in batch.records]

    whole, back = list(range(1, LAST + 1)), {"direction": DIRECTION_BACKWARDS}
    same("all, forwards", await read(), whole)
    same("from 100, 510 of them", await read(from_version=100, limit=510), whole[99:609])
    same("from behind the end", await read(from_version=LAST + 1), [])
    same("all, backwards", await read(**back), whole[::-1])
    same("backwards from 3", await read(**back, from_version=3), [3, 2, 1])
    same("the last two, backwards", await read(**back, limit=2), [LAST, LAST - 1])


async def a_stream_without_events_is_not_found(caller: Caller, own: str) -> None:
    stream = f"account/{own}"
    await refused(caller.records(stream), NO_STREAM)
    await refused(caller.queries.GetStream(GetStreamRequest(stream=stream)), NO_STREAM)
    await refused(caller.queries.GetState(GetStateRequest(stream=stream)), NO_STREAM)


async def a_stream_tells_its_version_and_its_ends(caller: Caller, own: str) -> None:
    await caller.open(own, cents=1)
    found = await caller.queries.GetStream(GetStreamRequest(stream=f"account/{own}"))
    records = await caller.records(f"account/{own}")
    same("the version", found.last_version, 2)
    same("the first append time", found.first_append_time, records[0].append_time)
    same("the last append time", found.last_append_time, records[-1].append_time)
    same("the chain hash", found.chain_hash, records[-1].chain_hash)


async def the_state_is_told_as_of_any_version(caller: Caller, own: str) -> None:
    await caller.open(own)
    for cents in (1, 2, 3):
        await caller.deposit(own, cents)

    async def state(**at: Any) -> tuple[int, int]:
        request = GetStateRequest(stream=f"account/{own}", **at)
        reply = await caller.queries.GetState(request)
        found = bank.AccountState()
        holds("the state is an AccountState", reply.state.Unpack(found))
        return reply.stream_version, found.balance_cents

    same("version and balance now", await state(), (4, 6))
    same("version and balance at 3", await state(version=3), (3, 3))
    same("version and balance at 1", await state(version=1), (1, 0))
    await refused(state(version=5), NO_STREAM)


async def a_query_with_a_token_shows_the_command(caller: Caller, own: str) -> None:
    await caller.open(own)
    for total in range(1, 11):
        token = (await caller.deposit(own, 1)).token
        reply = await caller.balance(own, **showing(token))
        found = (reply.row.balance_cents, reply.result.stale)
        same("balance and stale", found, (total, False))


async def joined_tokens_demand_every_command(caller: Caller, own: str) -> None:
    tokens = [(await caller.open(f"{own}-{n}", cents=5)).token for n in range(3)]
    for n in range(3):
        reply = await caller.balance(f"{own}-{n}", **showing("~".join(tokens)))
        same("the balance", reply.row.balance_cents, 5)


async def an_answer_that_lacks_the_command_says_so(caller: Caller, own: str) -> None:
    first = (await caller.open(own)).token
    await caller.balance(own, **showing(first))
    for total in range(1, 11):
        token = (await caller.deposit(own, 1)).token
        for policy in (STALE_POLICY_IMMEDIATE, STALE_POLICY_ANSWER):
            brief = Duration(nanos=1_000_000)
            reply = await caller.balance(own, token=token, stale_policy=policy, max_wait=brief)
            shown = reply.row.balance_cents == total
            holds("an answer shows the command or is stale", shown or reply.result.stale)


async def a_token_without_a_policy_or_a_broken_one_is_refused(caller: Caller, own: str) -> None:
    token = (await caller.open(own)).token
    error = await refused(caller.balance(own, token=token), MALFORMED)
    same("the fields named", list(error.violations), ["header.stale_policy"])
    call = caller.balance(own, token="broken", stale_policy=STALE_POLICY_FAIL)
    await refused(call, BAD_CURSOR)


async def a_row_that_is_not_there_is_not_found(caller: Caller, own: str) -> None:
    await refused(caller.balance(own), "NOT_FOUND ROW_NOT_FOUND")
    await refused(caller.balance(""), MALFORMED)


async def a_list_is_in_key_order_and_goes_on_at_its_cursor(caller: Caller, own: str) -> None:
    tokens = [(await caller.open(f"{own}-{n}")).token for n in range(3)]
    head = QueryHeader(**showing("~".join(tokens)))
    cursor, found = "", list[str]()
    for _ in range(3):
        request = views_pb2.ListAccountBalancesRequest(header=head, limit=1, cursor=cursor)
        batches = await collected(caller.balances.ListAccountBalances(request))
        found += [row.account_id for batch in batches for row in batch.rows]
        same("whether each batch says how fresh", [b.HasField("result") for b in batches], [True])
        cursor = batches[-1].cursor
        if not cursor:
            break
    same("the order", found, sorted(set(found)))
    same("the rows of three lists of one", len(found), 3)


async def a_statement_is_listed_oldest_first_up_to_a_limit_and_on_to_its_end(
    caller: Caller, own: str
) -> None:
    await caller.open(own)
    for cents in (10, 20, 30, 40):
        token = (await caller.deposit(own, cents)).token
    head, cursor, pages = QueryHeader(**showing(token)), "", list[list[int]]()
    while not pages or cursor:
        request = views_pb2.ListStatementLinesRequest(
            header=head, account_id=own, limit=2, cursor=cursor
        )
        batches = await collected(caller.balances.ListStatementLines(request))
        pages.append([line.change_cents for batch in batches for line in batch.rows])
        cursor = batches[-1].cursor
        holds("the list ends", len(pages) < 10)
    same("the lines", [page for page in pages if page], [[0, 10], [20, 30], [40]])


async def rows_of_any_view_are_listed_by_a_prefix_of_their_key(caller: Caller, own: str) -> None:
    token = (await caller.open(own, cents=5)).token

    async def listed(*prefix: str) -> list[int]:
        request = ListRowsRequest(
            header=QueryHeader(**showing(token)), view=STATEMENT, key_prefix=prefix
        )
        row, found = views_pb2.StatementLine(), []
        for batch in await collected(caller.queries.ListRows(request)):
            for packed in batch.rows:
                holds("a row is a StatementLine", packed.Unpack(row))
                found.append(row.stream_version)
        return found

    same("all lines", await listed(own), [1, 2])
    same("the second line", await listed(own, "2"), [2])
    same("lines of nobody", await listed(own + "-nobody"), [])
    unknown = caller.queries.ListRows(ListRowsRequest(view="no.Such"))
    await refused(collected(unknown), "NOT_FOUND VIEW_NOT_FOUND")


async def a_cursor_that_the_platform_did_not_make_is_refused_by_lists(
    caller: Caller, own: str
) -> None:
    request = views_pb2.ListAccountBalancesRequest(cursor=own)
    await refused(collected(caller.balances.ListAccountBalances(request)), BAD_CURSOR)
    rows = ListRowsRequest(view=STATEMENT, key_prefix=[own], cursor=own)
    await refused(collected(caller.queries.ListRows(rows)), BAD_CURSOR)


async def a_watch_shows_that_there_is_no_row_then_each_state_that_lasts(
    caller: Caller, own: str
) -> None:
    request = views_pb2.WatchAccountBalanceRequest(account_id=own)
    watch = caller.balances.WatchAccountBalance(request)
    try:
        first = await next_of(watch)
        holds("the first message says that there is no row", first.absent)
        await caller.open(own, owner="Zoe")
        for cents, total in ((0, 0), (5, 5), (6, 11)):
            if cents:
                await caller.deposit(own, cents)
            change = await next_of(watch)
            while change.checkpoint or change.absent:
                change = await next_of(watch)
            found = (change.row.owner, change.row.balance_cents)
            same("owner and balance", found, ("Zoe", total))
    finally:
        watch.cancel()


async def next_of(watch: Any) -> views_pb2.WatchAccountBalanceResponse:
    """Returns the next message of a watch.

    Raises:
        BrokenRuleError: The watch ended.
    """
    message = await watch.read()
    if not isinstance(message, views_pb2.WatchAccountBalanceResponse):
        raise BrokenRuleError("the watch ended by itself")
    return message


async def the_status_names_the_store_and_the_ends_of_its_log(caller: Caller, own: str) -> None:
    token = (await caller.open(own)).token
    await caller.balance(own, **showing(token))
    status = await caller.admin.GetStatus(GetStatusRequest())
    holds("the store has an identity", status.store_id)
    holds("it is said what an acknowledgement means", status.durability)
    partitions = [end.partition for end in status.ends]
    same("the partitions", partitions, sorted(set(partitions)))
    holds("the log is not empty", any(end.sequence for end in status.ends))


async def one_build_of_each_view_serves(caller: Caller, own: str) -> None:
    views = (await caller.admin.ListViews(ListViewsRequest())).views
    names = [view.view for view in views]
    same("the order of the views", names, sorted(names))
    holds("the bank's views are among them", {BALANCES, STATEMENT} <= set(names))
    for view in views:
        serving = [build for build in view.builds if build.state == BUILD_STATE_SERVING]
        same(f"the serving builds of {view.view}", len(serving), 1)
    only = (await caller.admin.ListViews(ListViewsRequest(view=BALANCES))).views
    same("the one asked for", [view.view for view in only], [BALANCES])


async def the_chain_of_one_stream_is_verified_on_request(caller: Caller, own: str) -> None:
    await caller.open(own, cents=1)
    request = VerifyRequest(stream=f"account/{own}")
    last = (await collected(caller.admin.Verify(request)))[-1]
    found = (last.done, last.streams, last.records, len(last.breaks))
    same("done, streams, records and breaks", found, (True, 1, 2, 0))


RULES = (
    a_stream_is_read_both_ways_from_any_version_up_to_a_limit,
    a_stream_without_events_is_not_found,
    a_stream_tells_its_version_and_its_ends,
    the_state_is_told_as_of_any_version,
    a_query_with_a_token_shows_the_command,
    joined_tokens_demand_every_command,
    an_answer_that_lacks_the_command_says_so,
    a_token_without_a_policy_or_a_broken_one_is_refused,
    a_row_that_is_not_there_is_not_found,
    a_list_is_in_key_order_and_goes_on_at_its_cursor,
    a_statement_is_listed_oldest_first_up_to_a_limit_and_on_to_its_end,
    rows_of_any_view_are_listed_by_a_prefix_of_their_key,
    a_cursor_that_the_platform_did_not_make_is_refused_by_lists,
    a_watch_shows_that_there_is_no_row_then_each_state_that_lasts,
)

OPERATORS_RULES = (
    the_status_names_the_store_and_the_ends_of_its_log,
    one_build_of_each_view_serves,
    the_chain_of_one_stream_is_verified_on_request,
)
