"""What the suites of bad queries share: two stores with accounts, requests, and their refusals."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from bank.v1 import views_pb2
from eventspine.client.errors import CallError
from eventspine.v1.query_pb2 import (
    STALE_POLICY_FAIL,
    ListRowsRequest,
    QueryHeader,
)
from eventspine.v1.subscription_pb2 import SubscribeRequest
from tests.contract.calling import Caller, bank_and_flights, calling, deposit, opening

VIEW = "bank.v1.AccountBalance"
UINT32_MAX = 2**32 - 1
UINT64_MAX = 2**64 - 1
MALFORMED = "INVALID_ARGUMENT INVALID_REQUEST"
TOO_MUCH = "RESOURCE_EXHAUSTED LIMIT_EXCEEDED"
INVALID = "INVALID_ARGUMENT CURSOR_INVALID"
EXPIRED = "FAILED_PRECONDITION CURSOR_EXPIRED"
NO_STREAM = "NOT_FOUND STREAM_NOT_FOUND"
NO_VIEW = "NOT_FOUND VIEW_NOT_FOUND"


class Known(NamedTuple):
    """What a platform has given out: two stores, each with accounts `a` to `e`.

    Attributes:
        rows_cursor: Of a list of balances.
        log_cursor: Of a subscription to all events.
        token: Of a command.
        other: The same, of another store.
    """

    rows_cursor: str
    log_cursor: str
    token: str
    other: "Known | None" = None

    @property
    def foreign(self) -> "Known":
        assert self.other is not None
        return self.other


async def filled(caller: Caller) -> Known:
    result: Any = None
    for account in "abcde":
        await caller.one(opening(account))
        result = (await caller.one(deposit(account))).result
    header = QueryHeader(token=result.token, stale_policy=STALE_POLICY_FAIL)
    listed = await caller.one(ListRowsRequest(header=header, view=VIEW, limit=2))
    subscribed = await caller.one(SubscribeRequest(end=Empty()))
    return Known(listed.cursor, subscribed.confirmation.cursor, result.token)


@asynccontextmanager
async def asking(folder: Path | None) -> AsyncIterator[tuple[Caller, Known]]:
    """Starts two platforms that hold the same; gives a caller to the first."""
    async with (
        calling(bank_and_flights(folder and folder / "one.db")) as one,
        calling(bank_and_flights(folder and folder / "other.db")) as other,
    ):
        foreign = await filled(other)
        yield one, (await filled(one))._replace(other=foreign)


def rows(**fields: Any) -> ListRowsRequest:
    return ListRowsRequest(**{"view": VIEW, **fields})


def balances(**fields: Any) -> views_pb2.ListAccountBalancesRequest:
    return views_pb2.ListAccountBalancesRequest(**fields)


def balance(**header: Any) -> views_pb2.GetAccountBalanceRequest:
    return views_pb2.GetAccountBalanceRequest(header=QueryHeader(**header), account_id="a")


def subscribe(**fields: Any) -> SubscribeRequest:
    return SubscribeRequest(**{"beginning": Empty(), **fields})


def lasting(seconds: int, nanos: int = 0) -> Duration:
    return Duration(seconds=seconds, nanos=nanos)


Case = tuple[Callable[[Known], Message], str, str]
"""The request, what it is refused with, and the field or a word of the text."""


def check(error: CallError, refused: str, told: str) -> None:
    assert error.domain == "eventspine.v1"
    assert f"{error.code.name} {error.reason.removeprefix('ERROR_REASON_')}" == refused
    if refused == MALFORMED:
        assert list(error.violations) == [told]
    elif refused == TOO_MUCH:
        assert error.metadata["field"] == told
    assert told in error.status.message
