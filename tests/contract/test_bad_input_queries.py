"""Bad queries over real gRPC: each is refused with its field and its cure."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from bank.v1 import views_pb2
from eventspine.v1.query_pb2 import (
    GetStateRequest,
    GetStreamRequest,
    ReadStreamRequest,
)
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeRequest
from flights.v1 import views_pb2 as flight_views
from tests.contract.calling import Caller
from tests.contract.queried import (
    MALFORMED,
    NO_STREAM,
    NO_VIEW,
    TOO_MUCH,
    UINT32_MAX,
    UINT64_MAX,
    Case,
    Known,
    balance,
    check,
    lasting,
    rows,
    subscribe,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAMS: dict[str, Case] = {
    **{
        f"{kind.DESCRIPTOR.name} of {bad!r}": (
            lambda _, kind=kind, bad=bad: kind(stream=bad),
            MALFORMED,
            "stream",
        )
        for kind in (ReadStreamRequest, GetStreamRequest, GetStateRequest)
        for bad in (
            "",
            "a",
            "/",
            "account/",
            "Account/a",
            "account/e\u0301",
            f"account/{'x' * 201}",
        )
    },
    "no such stream": (lambda _: GetStreamRequest(stream="account/z"), NO_STREAM, "account/z"),
    "reading no such stream": (
        lambda _: ReadStreamRequest(stream="account/z"),
        NO_STREAM,
        "account/z",
    ),
    "version 0": (
        lambda _: ReadStreamRequest(stream="account/a", from_version=0),
        MALFORMED,
        "from_version",
    ),
    "an unknown direction": (
        lambda _: ReadStreamRequest(stream="account/a", direction=77),  # type: ignore[arg-type] # what old clients of a newer contract send
        MALFORMED,
        "direction",
    ),
    "the state of no such stream": (
        lambda _: GetStateRequest(stream="account/z"),
        NO_STREAM,
        "account/z",
    ),
    "the state of no aggregate": (lambda _: GetStateRequest(stream="b/z"), MALFORMED, "stream"),
    "the state at version 0": (
        lambda _: GetStateRequest(stream="account/a", version=0),
        MALFORMED,
        "version",
    ),
    "the state at a version beyond": (
        lambda _: GetStateRequest(stream="account/a", version=3),
        NO_STREAM,
        "its last is 2",
    ),
    "the state at a version beyond all": (
        lambda _: GetStateRequest(stream="account/a", version=UINT64_MAX),
        NO_STREAM,
        "its last is 2",
    ),
    "the state before there was one": (
        lambda _: GetStateRequest(stream="account/a", time=Timestamp(seconds=1)),
        NO_STREAM,
        "at that time",
    ),
    "the state at no time": (
        lambda _: GetStateRequest(stream="account/a", time=Timestamp(seconds=2**62)),
        MALFORMED,
        "time",
    ),
}

ROWS: dict[str, Case] = {
    "no view": (lambda _: rows(view=""), NO_VIEW, "`eventspine views`"),
    "an unknown view": (lambda _: rows(view="no.v1.Such"), NO_VIEW, "no.v1.Such"),
    "an unknown build": (lambda _: rows(build=9), NO_VIEW, "no build 9"),
    "a build beyond all": (lambda _: rows(build=UINT32_MAX), NO_VIEW, str(UINT32_MAX)),
    "too long a prefix": (lambda _: rows(key_prefix=["a", "b"]), MALFORMED, "key_prefix"),
    "a prefix of another type": (
        lambda _: rows(view="bank.v1.StatementLine", key_prefix=["a", "one"]),
        MALFORMED,
        "key_prefix[1]",
    ),
    "a prefix out of range": (
        lambda _: rows(view="bank.v1.StatementLine", key_prefix=["a", str(2**64)]),
        MALFORMED,
        "key_prefix[1]",
    ),
    "no key": (
        lambda _: views_pb2.GetAccountBalanceRequest(),
        MALFORMED,
        "account_id",
    ),
    "no key to watch": (
        lambda _: views_pb2.WatchAccountBalanceRequest(),
        MALFORMED,
        "account_id",
    ),
    "half a key": (
        lambda _: flight_views.GetAirportDayRequest(origin="JFK"),
        MALFORMED,
        "date",
    ),
    "no row": (
        lambda _: views_pb2.GetAccountBalanceRequest(account_id="z"),
        "NOT_FOUND ROW_NOT_FOUND",
        '["z"]',
    ),
}

SUBSCRIPTIONS: dict[str, Case] = {
    "no start": (lambda _: SubscribeRequest(), MALFORMED, "start"),
    "too large a batch": (
        lambda _: subscribe(batch_records_max=1_001),
        TOO_MUCH,
        "batch_records_max",
    ),
    "the largest batch": (
        lambda _: subscribe(batch_records_max=UINT32_MAX),
        TOO_MUCH,
        "batch_records_max",
    ),
    **{
        f"a heartbeat of {wait.seconds} s and {wait.nanos} ns": (
            lambda _, wait=wait: subscribe(heartbeat_interval=wait),
            MALFORMED,
            "heartbeat_interval",
        )
        for wait in (lasting(0), lasting(-1), lasting(301), lasting(2**62), lasting(0, 99_999_999))
    },
    "a filter for a malformed stream": (
        lambda _: subscribe(filter=EventFilter(stream="a")),
        MALFORMED,
        "filter.stream",
    ),
    "a filter for an empty type": (
        lambda _: subscribe(filter=EventFilter(types=[""])),
        MALFORMED,
        "filter.types",
    ),
    "a filter for 101 categories": (
        lambda _: subscribe(filter=EventFilter(categories=["a"] * 101)),
        TOO_MUCH,
        "filter.categories",
    ),
    "a filter for too long a prefix": (
        lambda _: subscribe(filter=EventFilter(stream_prefix="a" * 266)),
        TOO_MUCH,
        "filter.stream_prefix",
    ),
    "a version without a stream": (
        lambda _: SubscribeRequest(after_version=1),
        MALFORMED,
        "after_version",
    ),
    **{
        f"the version {version}": (
            lambda _, version=version: SubscribeRequest(
                after_version=version, filter=EventFilter(stream="account/a")
            ),
            MALFORMED,
            "after_version",
        )
        for version in (3, 2**63, UINT64_MAX)
    },
    "a time in the future": (
        lambda _: SubscribeRequest(time=Timestamp(seconds=4_000_000_000)),
        MALFORMED,
        "time",
    ),
    "no time": (
        lambda _: SubscribeRequest(time=Timestamp(seconds=-(2**62), nanos=-1)),
        MALFORMED,
        "time",
    ),
}

CASES = {**STREAMS, **ROWS, **SUBSCRIPTIONS}


@pytest.mark.parametrize("how", CASES)
async def test_a_bad_query_is_refused_and_others_are_answered(
    asked: tuple[Caller, Known], how: str
) -> None:
    caller, known = asked
    make, refused, told = CASES[how]
    check(await caller.refusal(make(known)), refused, told)
    assert (await caller.one(balance())).row.balance_cents == 5


async def test_places_beyond_all_that_was_stored_answer_with_nothing(
    asked: tuple[Caller, Known],
) -> None:
    caller, known = asked
    stream = "account/a"
    for version in (3, 2**63 - 1, 2**63, UINT64_MAX):
        beyond = ReadStreamRequest(stream=stream, from_version=version)
        assert await caller.replies(beyond) == []
        beyond.direction = 2
        (batch,) = await caller.replies(beyond)
        assert [record.stream_version for record in batch.records] == [2, 1]
    for limit in (2, UINT32_MAX, UINT64_MAX):
        (batch,) = await caller.replies(ReadStreamRequest(stream=stream, limit=limit))
        assert len(batch.records) == 2
    (batch,) = await caller.replies(rows(limit=UINT32_MAX))
    assert (len(batch.rows), batch.cursor) == (5, "")
    (batch,) = await caller.replies(rows(key_prefix=["x" * 100_000]))
    assert (len(batch.rows), batch.cursor) == (0, "")
    (batch,) = await caller.replies(rows(cursor=known.rows_cursor, limit=UINT32_MAX))
    assert len(batch.rows) == 3
