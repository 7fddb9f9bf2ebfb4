"""Reasons that a request alone can raise, over gRPC; failures have a suite of their own."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from bank.v1 import account_pb2, views_pb2
from devstack.embedded import Embedded
from domains.bank.domain import BANK
from eventspine.client.client import Client
from eventspine.client.errors import CallError
from eventspine.rpc.errors import TABLE
from eventspine.rpc.token import encode_token
from eventspine.storage.records import StreamPlace
from eventspine.v1.admin_pb2 import RetireViewRequest
from eventspine.v1.command_pb2 import AppendRequest, CommandHeader, ExecuteRequest, NewEvent
from eventspine.v1.command_pb2_grpc import CommandServiceStub
from eventspine.v1.error_reason_pb2 import ErrorReason
from eventspine.v1.query_pb2 import (
    STALE_POLICY_FAIL,
    GetStreamRequest,
    ListRowsRequest,
    QueryHeader,
)
from eventspine.v1.record_pb2 import Expectation
from eventspine.v1.subscription_pb2 import SubscribeRequest

VIEW = "bank.v1.AccountBalance"


@pytest.fixture
async def platform() -> AsyncIterator[Embedded]:
    async with Embedded([BANK]) as running:
        yield running


@pytest.fixture
async def client(platform: Embedded) -> AsyncIterator[Client]:
    async with Client.connect(platform.address) as connected:
        await connected.execute(account_pb2.OpenAccountRequest(account_id="alice", owner="Alice"))
        yield connected


def deposit(cents: int = 5, **header: Any) -> account_pb2.DepositRequest:
    return account_pb2.DepositRequest(
        header=CommandHeader(**header), account_id="alice", amount_cents=cents
    )


def append(**more: Any) -> AppendRequest:
    event = NewEvent(type="bank.v1.MoneyDeposited")
    header = CommandHeader(command_id="c", expected=Expectation(any=Empty()))
    return AppendRequest(**{"header": header, "stream": "account/alice", "events": [event], **more})


def balance(token: str) -> views_pb2.GetAccountBalanceRequest:
    header = QueryHeader(
        token=token, stale_policy=STALE_POLICY_FAIL, max_wait=Duration(nanos=10_000_000)
    )
    return views_pb2.GetAccountBalanceRequest(header=header, account_id="alice")


def token(platform: Embedded, version: int) -> str:
    store_id = platform.parts.backend.identity.store_id
    return encode_token(store_id, [StreamPlace("account/alice", version)])


RAISED: dict[str, Callable[[Embedded], list[Message]]] = {
    "INVALID_REQUEST": lambda _: [account_pb2.DepositRequest(amount_cents=1)],
    "LIMIT_EXCEEDED": lambda _: [deposit(metadata={"k": "v" * 16 * 1024})],
    "STREAM_VERSION_CONFLICT": lambda _: [deposit(expected=Expectation(version=7))],
    "COMMAND_ID_REUSED": lambda _: [
        deposit(1, command_id="same"),
        deposit(2, command_id="same"),
    ],
    "TYPE_UNKNOWN": lambda _: [append(events=[NewEvent(type="no.v1.Such")])],
    "STREAM_NOT_FOUND": lambda _: [GetStreamRequest(stream="account/nobody")],
    "VIEW_NOT_FOUND": lambda _: [ListRowsRequest(view="no.v1.Such")],
    "ROW_NOT_FOUND": lambda _: [views_pb2.GetAccountBalanceRequest(account_id="nobody")],
    "VIEW_BEHIND": lambda platform: [balance(token(platform, 1_000))],
    "CURSOR_INVALID": lambda _: [SubscribeRequest(cursor="no cursor")],
    "CURSOR_EXPIRED": lambda _: [balance(encode_token("other", [StreamPlace("account/a", 1)]))],
    "VIEW_STATE": lambda _: [RetireViewRequest(view=VIEW, build=1)],
}


async def send(client: Client, request: Message) -> None:
    if isinstance(request, SubscribeRequest):
        await anext(client.subscribe(request).messages())
    elif isinstance(request, ListRowsRequest):
        async for _ in client.read(request, timeout_seconds=10):
            pass
    else:
        await client.execute(request, timeout_seconds=10)


@pytest.mark.parametrize("name", RAISED)
async def test_a_reason_comes_with_the_code_of_the_table(
    platform: Embedded, client: Client, name: str
) -> None:
    *before, request = RAISED[name](platform)
    for earlier in before:
        await send(client, earlier)
    with pytest.raises(CallError) as raised:
        await send(client, request)
    row = next(row for row in TABLE if ErrorReason.Name(row.reason) == f"ERROR_REASON_{name}")
    error = raised.value
    assert (error.reason, error.domain) == (f"ERROR_REASON_{name}", "eventspine.v1")
    assert error.code.value[0] == row.code
    assert error.status.message


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (account_pb2.DepositRequest(amount_cents=1), {"account_id"}),
        (account_pb2.DepositRequest(account_id="x" * 201, amount_cents=1), {"account_id"}),
        (account_pb2.DepositRequest(account_id="a\n", amount_cents=1), {"account_id"}),
        (deposit(command_id="x" * 201), {"header.command_id"}),
        (deposit(expected=Expectation()), {"header.expected"}),
        (AppendRequest(), {"header.command_id", "header.expected", "stream", "events", "header"}),
        (append(stream="Account/a"), {"stream"}),
        (append(events=[]), {"events"}),
        (append(header=CommandHeader(command_id="c")), {"header.expected"}),
        (append(events=[NewEvent(type=VIEW, payload=b"\xff")]), {"events[0].payload"}),
        (GetStreamRequest(), {"stream"}),
        (SubscribeRequest(), {"start"}),
    ],
    ids=lambda value: value.DESCRIPTOR.name if isinstance(value, Message) else "",
)
async def test_a_wrong_field_is_named_or_its_limit_or_type(
    client: Client, request_: Message, fields: set[str]
) -> None:
    with pytest.raises(CallError) as raised:
        await send(client, request_)
    error = raised.value
    assert error.code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    if error.reason == "ERROR_REASON_INVALID_REQUEST":
        assert error.violations
        assert set(error.violations) <= fields


async def test_a_payload_of_one_byte_too_many_is_refused(client: Client) -> None:
    event = NewEvent(type="bank.v1.AccountOpened")
    opened = account_pb2.AccountOpened(owner="x" * (1024 * 1024))
    event.payload = opened.SerializeToString()
    with pytest.raises(CallError) as raised:
        await send(client, append(events=[event]))
    assert raised.value.reason == "ERROR_REASON_LIMIT_EXCEEDED"
    assert raised.value.metadata["maximum"] == str(1024 * 1024)


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (ExecuteRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (
            ExecuteRequest(
                commands=[AnyMessage(type_url="x/bank.v1.DepositRequest", value=b"\xff")]
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (ExecuteRequest(commands=[AnyMessage()] * 1_001), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["empty", "malformed", "too many"],
)
async def test_a_bulk_message_that_breaks_a_rule_ends_the_stream(
    client: Client, batch: ExecuteRequest, code: grpc.StatusCode
) -> None:
    call = client.stub(CommandServiceStub).Execute(iter([batch]))
    with pytest.raises(grpc.RpcError) as raised:
        async for _ in call:
            pass
    assert raised.value.code() == code


async def test_an_unknown_type_in_a_bulk_is_the_verdict_of_that_command_only(
    client: Client,
) -> None:
    known = AnyMessage()
    known.Pack(deposit(command_id="c"))
    batch = ExecuteRequest(commands=[AnyMessage(type_url="x/no.v1.Such"), known, AnyMessage()])
    call = client.stub(CommandServiceStub).Execute(iter([batch]))
    verdicts = [verdict async for response in call for verdict in response.verdicts]
    assert sorted(v.failure.reason for v in verdicts) == ["", *["ERROR_REASON_TYPE_UNKNOWN"] * 2]
