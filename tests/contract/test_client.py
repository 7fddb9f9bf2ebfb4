"""The Python client over real gRPC, against a small platform that fails on purpose."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import aio

from bank.v1 import account_pb2, views_pb2
from eventspine.client.client import Client
from eventspine.client.errors import CallError
from eventspine.client.tokens import Tokens
from eventspine.domain.errors import DomainDefectError
from eventspine.domain.refusal import refuse
from eventspine.rpc.context import CallContext
from eventspine.rpc.errors import (
    CursorInvalidError,
    InvalidRequestError,
    OverloadedError,
    RowNotFoundError,
    StreamVersionConflictError,
    TypeUnknownError,
    ViewStateError,
    Violation,
)
from eventspine.rpc.host import Host
from eventspine.rpc.limits import COMMAND_BYTES_MAX
from eventspine.rpc.method import Method
from eventspine.rpc.status import to_failure
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.v1.admin_pb2 import RollBackViewRequest, RollBackViewResponse
from eventspine.v1.command_pb2 import (
    AppendRequest,
    CommandResult,
    CommandVerdict,
    ExecuteRequest,
    ExecuteResponse,
)
from eventspine.v1.query_pb2 import ListRowsRequest, ListRowsResponse
from eventspine.v1.record_pb2 import EventRecord, VersionConflict
from eventspine.v1.subscription_pb2 import (
    CaughtUp,
    Checkpoint,
    EventBatch,
    Heartbeat,
    SubscribeRequest,
    SubscribeResponse,
    SubscriptionConfirmation,
)
from flights.v1 import flight_pb2

Deposit = account_pb2.DepositRequest
Depart = flight_pb2.DepartFlightRequest


class Platform:
    """A platform of one process: it stores deposits once, and fails when told to."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], int] = {}
        self.calls = 0
        self.failures: list[Exception] = []
        self.starts: list[SubscribeRequest] = []
        self.break_after = 0
        self.twice = False
        self.batch_bytes: list[int] = []
        self.silent = False
        self.log_end = 10

    def methods(self) -> list[Method]:
        commands, queries = "bank.v1.AccountCommands", "eventspine.v1.QueryService"
        return [
            Method(service=commands, name="Deposit", request=Deposit, unary=self.deposit),
            Method(
                service="bank.v1.AccountQueries",
                name="GetAccountBalance",
                request=views_pb2.GetAccountBalanceRequest,
                unary=self.balance,
            ),
            Method(
                service="eventspine.v1.CommandService",
                name="Execute",
                request=ExecuteRequest,
                bidi_stream=self.execute,
            ),
            Method(
                service=queries,
                name="Subscribe",
                request=SubscribeRequest,
                server_stream=self.subscribe,
            ),
            Method(
                service=queries, name="ListRows", request=ListRowsRequest, server_stream=self.rows
            ),
            Method(
                service="eventspine.v1.AdminService",
                name="RollBackView",
                request=RollBackViewRequest,
                unary=self.roll_back,
            ),
        ]

    def store(self, command: Deposit) -> CommandResult:
        key = (command.account_id, command.header.command_id)
        replayed = key in self.stored
        self.stored.setdefault(key, command.amount_cents)
        if command.amount_cents < 0:
            raise refuse(
                account_pb2.AccountRefusal, account_pb2.ACCOUNT_REFUSAL_CLOSED, "it is closed"
            )
        return CommandResult(
            stream=f"account/{command.account_id}", last_version=1, replayed=replayed, token="t"
        )

    async def deposit(self, request: Deposit, context: CallContext) -> account_pb2.DepositResponse:
        self.calls += 1
        result = self.store(request)
        if self.failures:
            raise self.failures.pop()
        return account_pb2.DepositResponse(result=result)

    async def balance(self, request: object, context: CallContext) -> object:
        self.calls += 1
        if self.failures:
            raise self.failures.pop()
        return views_pb2.GetAccountBalanceResponse()

    async def roll_back(self, request: object, context: CallContext) -> RollBackViewResponse:
        self.calls += 1
        raise self.failures.pop()

    async def execute(
        self, requests: AsyncIterator[ExecuteRequest], context: CallContext
    ) -> AsyncIterator[ExecuteResponse]:
        self.calls += 1
        async for request in requests:
            self.batch_bytes.append(sum(len(packed.value) for packed in request.commands))
            verdicts = [self.verdict(packed) for packed in request.commands]
            if self.break_after and len(self.stored) >= self.break_after:
                self.break_after = 0
                raise OverloadedError("stored, and then the connection broke")
            if self.twice:
                yield ExecuteResponse(verdicts=verdicts[:1])
                verdicts.reverse()
            yield ExecuteResponse(verdicts=reversed(verdicts))

    def verdict(self, packed: Any) -> CommandVerdict:
        if packed.Is(Depart.DESCRIPTOR):
            flight = Depart.FromString(packed.value)
            verdict = CommandVerdict(
                command_id=flight.header.command_id, stream=f"flight/{flight.flight_id}"
            )
            if self.failures:
                verdict.failure.CopyFrom(to_failure(self.failures.pop()))
            else:
                verdict.result.SetInParent()
            return verdict
        if not packed.Is(Deposit.DESCRIPTOR):
            unknown = TypeUnknownError("unknown", type=packed.TypeName())
            return CommandVerdict(failure=to_failure(unknown))
        command = Deposit.FromString(packed.value)
        verdict = CommandVerdict(
            command_id=command.header.command_id, stream=f"account/{command.account_id}"
        )
        try:
            if self.failures:
                raise self.failures.pop()
            verdict.result.CopyFrom(self.store(command))
        except Exception as error:
            verdict.failure.CopyFrom(to_failure(error))
        return verdict

    async def rows(
        self, request: ListRowsRequest, context: CallContext
    ) -> AsyncIterator[ListRowsResponse]:
        yield ListRowsResponse(cursor="1")
        if self.failures:
            raise self.failures.pop()

    async def subscribe(
        self, request: SubscribeRequest, context: CallContext
    ) -> AsyncIterator[SubscribeResponse]:
        """Sends a log of numbered records, three a connection when it is to break."""
        self.starts.append(SubscribeRequest.FromString(request.SerializeToString()))
        if request.cursor == "bad":
            raise CursorInvalidError("no cursor of ours")
        at = int(request.cursor or 0)
        confirmation = SubscriptionConfirmation(subscription_id="s", cursor=str(at))
        yield SubscribeResponse(confirmation=confirmation)
        while at < self.log_end:
            at += 1
            records = [EventRecord(stream="account/a", stream_version=at)]
            batch = EventBatch(records=records, sequences=[at], cursor=str(at))
            yield SubscribeResponse(batch=batch)
            if self.break_after and at % self.break_after == 0:
                raise OverloadedError("broken on purpose")
        yield SubscribeResponse(caught_up=CaughtUp(cursor=str(at)))
        yield SubscribeResponse(checkpoint=Checkpoint(cursor=str(at)))
        while not self.silent:
            yield SubscribeResponse(heartbeat=Heartbeat(cursor=str(at), lag_events=4))
            await asyncio.sleep(0.02)
        await asyncio.Event().wait()


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Client]:
    host = Host(platform.methods())
    async with Client.connect(await host.start()) as connected:
        yield connected
    await host.stop(0)


def deposit(command_id: str, account: str = "alice", cents: int = 5) -> Deposit:
    request = Deposit(account_id=account, amount_cents=cents)
    request.header.command_id = command_id
    return request


async def test_a_command_finds_its_method_and_gets_an_id(client: Client, platform) -> None:
    request = Deposit(account_id="alice", amount_cents=5)
    response = await client.execute(request)
    assert isinstance(response, account_pb2.DepositResponse)
    assert response.result.stream == "account/alice"
    assert list(platform.stored) == [("alice", request.header.command_id)]
    assert (await client.execute(request)).result.replayed


async def test_an_unknown_outcome_is_sent_again_with_the_same_id(client: Client, platform) -> None:
    platform.failures = [OutcomeUnknownError("unknown"), OverloadedError("full")]
    response = await client.execute(Deposit(account_id="alice", amount_cents=5))
    assert response.result.replayed
    assert (platform.calls, len(platform.stored)) == (3, 1)


async def test_a_call_that_a_stopping_transport_cancelled_is_sent_again() -> None:
    """A server that stops so answers what it had taken in and not begun."""
    calls: list[bytes] = []

    async def answer(raw: bytes, context: aio.ServicerContext) -> bytes:
        calls.append(raw)
        if len(calls) == 1:
            await context.abort(grpc.StatusCode.CANCELLED, "")
        return account_pb2.DepositResponse().SerializeToString()

    server = aio.server()
    method = grpc.unary_unary_rpc_method_handler(answer)
    service = "bank.v1.AccountCommands"
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {"Deposit": method})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Client.connect(f"127.0.0.1:{port}") as client:
        await client.execute(deposit("c"))
    await server.stop(0)
    assert calls == [deposit("c").SerializeToString()] * 2


async def test_a_refusal_is_an_error_with_reason_and_is_not_sent_again(
    client: Client, platform
) -> None:
    with pytest.raises(CallError, match="it is closed") as raised:
        await client.execute(deposit("c", cents=-1))
    error = raised.value
    assert error.code == grpc.StatusCode.FAILED_PRECONDITION
    assert (error.reason, error.domain) == ("ACCOUNT_REFUSAL_CLOSED", "bank.v1")
    assert (error.transient, error.conflict, error.violations) == (False, None, {})
    assert platform.calls == 1


async def test_details_of_an_error_are_at_hand(client: Client, platform) -> None:
    conflict = VersionConflict(
        stream="account/a", actual_version=7, missed=[EventRecord(stream_version=7)]
    )
    platform.failures = [StreamVersionConflictError("expected 6", conflict)]
    with pytest.raises(CallError) as raised:
        await client.execute(deposit("c"))
    assert raised.value.conflict == conflict
    assert raised.value.metadata == {"stream": "account/a", "actual_version": "7"}
    platform.failures = [InvalidRequestError(Violation("account_id", "is missing; send it"))]
    with pytest.raises(CallError) as raised:
        await client.execute(deposit("c"))
    assert raised.value.violations == {"account_id": "is missing; send it"}
    assert raised.value.detail(ErrorInfo).reason == "ERROR_REASON_INVALID_REQUEST"


async def test_a_query_is_tried_again_and_a_missing_row_is_not(client: Client, platform) -> None:
    platform.failures = [OverloadedError("full")]
    request = views_pb2.GetAccountBalanceRequest(account_id="alice")
    assert isinstance(await client.execute(request), views_pb2.GetAccountBalanceResponse)
    platform.failures = [RowNotFoundError("no such account")]
    with pytest.raises(CallError) as raised:
        await client.execute(request)
    assert raised.value.reason == "ERROR_REASON_ROW_NOT_FOUND"
    assert platform.calls == 3


async def test_what_is_not_safe_to_repeat_is_sent_once(client: Client, platform) -> None:
    platform.failures = [ViewStateError("none"), StoreUnavailableError("down", cause="test")]
    with pytest.raises(CallError, match="down"):
        await client.execute(RollBackViewRequest(view="v"))
    assert platform.calls == 1


async def test_patience_ends(client: Client, platform) -> None:
    platform.failures = [StoreUnavailableError("down", cause="disk full")] * 9
    with pytest.raises(CallError) as raised:
        await client.execute(deposit("c"), timeout_seconds=0.3)
    assert raised.value.metadata == {"cause": "disk full"}
    assert platform.calls == 1
    async with Client.connect("127.0.0.1:9") as nobody:
        with pytest.raises(CallError) as raised:
            await nobody.execute(deposit("c"), timeout_seconds=0.3)
        assert raised.value.code == grpc.StatusCode.UNAVAILABLE
        with pytest.raises(CallError, match=r"nothing answered in 0\.1 s"):
            await nobody.ready(0.1)


async def test_a_message_without_one_method_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(LookupError, match="0 methods"):
        await client.execute(account_pb2.AccountOpened())
    with pytest.raises(TypeError, match=r"client\.read"):
        await client.execute(ListRowsRequest())
    with pytest.raises(TypeError, match=r"client\.execute"):
        await anext(client.read(deposit("c")))


async def test_a_stream_of_responses_is_read_to_its_end_or_its_error(
    client: Client, platform
) -> None:
    await client.ready()
    assert [r.cursor async for r in client.read(ListRowsRequest(view="v"))] == ["1"]
    platform.failures = [CursorInvalidError("no")]
    with pytest.raises(CallError) as raised:
        _ = [r async for r in client.read(ListRowsRequest(view="v"))]
    assert raised.value.reason == "ERROR_REASON_CURSOR_INVALID"


async def take(records: AsyncIterator[EventRecord], count: int) -> list[int]:
    versions = []
    async for record in records:
        versions.append(record.stream_version)
        if len(versions) == count:
            break
    return versions


async def test_a_subscription_resumes_without_loss_or_repetition(client: Client, platform) -> None:
    platform.break_after = 3
    request = SubscribeRequest(beginning=Empty(), batch_records_max=7)
    subscription = client.subscribe(request)
    async with asyncio.timeout(20):
        assert await take(aiter(subscription), 10) == list(range(1, 11))
    assert [start.cursor for start in platform.starts] == ["", "3", "6", "9"]
    assert {start.batch_records_max for start in platform.starts} == {7}
    assert request.HasField("beginning")
    assert subscription.cursor == "9"


async def test_a_subscription_survives_a_restart_of_the_platform(platform: Platform) -> None:
    host = Host(platform.methods())
    address = await host.start()
    async with Client.connect(address) as client:
        versions: list[int] = []
        async with asyncio.timeout(20):
            async for record in client.subscribe(SubscribeRequest(beginning=Empty())):
                versions.append(record.stream_version)
                if len(versions) == 10:
                    await host.stop(0.2)
                    platform.log_end = 15
                    host = Host(platform.methods(), address=address)
                    await host.start()
                if len(versions) == 15:
                    break
        assert versions == list(range(1, 16))
    await host.stop(0)


async def test_a_subscription_tells_how_it_stands(client: Client) -> None:
    subscription = client.subscribe(SubscribeRequest(beginning=Empty()))
    kinds = []
    async for message in subscription.messages():
        kinds.append(message.WhichOneof("message"))
        if kinds.count("heartbeat") == 2:
            break
    assert kinds[0] == "confirmation"
    assert kinds[-4:] == ["caught_up", "checkpoint", "heartbeat", "heartbeat"]
    assert (subscription.caught_up, subscription.lag_events) == (True, 4)
    assert subscription.cursor == "10"


async def test_a_silent_platform_is_left_and_found_again(client: Client, platform) -> None:
    platform.silent = True
    request = SubscribeRequest(beginning=Empty())
    request.heartbeat_interval.FromMilliseconds(100)
    async with asyncio.timeout(20):
        async for message in client.subscribe(request).messages():
            if len(platform.starts) == 2:
                assert message.HasField("confirmation")
                break
    assert platform.starts[1].cursor == "10"


async def test_a_refused_subscription_is_an_error_at_once(client: Client) -> None:
    with pytest.raises(CallError) as raised:
        await take(aiter(client.subscribe(SubscribeRequest(cursor="bad"))), 1)
    assert raised.value.reason == "ERROR_REASON_CURSOR_INVALID"


async def verdicts_of(client: Client, commands: Iterator[Deposit], **more: int) -> list:
    async with asyncio.timeout(20):
        return [verdict async for verdict in client.bulk(commands, **more)]


async def test_every_command_of_a_bulk_gets_one_verdict(client: Client, platform) -> None:
    commands = [deposit(f"c{n}", f"a{n % 7}") for n in range(3_000)]
    verdicts = await verdicts_of(client, iter(commands), outstanding_max=700)
    assert sorted(v.command_id for v in verdicts) == sorted(c.header.command_id for c in commands)
    assert all(v.HasField("result") for v in verdicts)
    assert len(platform.stored) == 3_000
    assert await verdicts_of(client, iter([])) == []


async def test_what_a_broken_stream_left_open_is_sent_again(client: Client, platform) -> None:
    platform.break_after = 1_200
    commands = (deposit(f"c{n}") for n in range(3_000))
    verdicts = await verdicts_of(client, commands)
    assert len({v.command_id for v in verdicts}) == len(verdicts) == 3_000
    assert sum(v.result.replayed for v in verdicts) > 0
    assert platform.calls == 2


async def test_a_bulk_survives_a_restart_of_the_platform(
    platform: Platform, eventually: Callable
) -> None:
    host = Host(platform.methods())
    address = await host.start()

    async with Client.connect(address) as client:
        verdicts = []
        async with asyncio.timeout(30):
            async for verdict in client.bulk(
                (deposit(f"c{n}") for n in range(4_000)), outstanding_max=500
            ):
                verdicts.append(verdict.command_id)
                if len(verdicts) == 1_000:
                    await host.stop(0.1)
                    host = Host(platform.methods(), address=address)
                    await host.start()
        assert len(set(verdicts)) == len(verdicts) == 4_000
    await host.stop(0)


async def test_a_command_that_may_be_sent_again_is_and_others_fail_at_once(
    client: Client, platform
) -> None:
    platform.failures = [
        CursorInvalidError("stands for any final failure"),
        OutcomeUnknownError("unknown"),
        OverloadedError("full"),
    ]
    verdicts = await verdicts_of(client, (deposit(f"c{n}") for n in range(5)))
    failed = [v for v in verdicts if v.HasField("failure")]
    assert [v.failure.reason for v in failed] == ["ERROR_REASON_CURSOR_INVALID"]
    assert sorted(v.command_id for v in verdicts) == [f"c{n}" for n in range(5)]


async def test_a_command_that_fails_again_and_again_gets_its_failure(
    client: Client, platform
) -> None:
    platform.failures = [OverloadedError("full")] * 6
    (verdict,) = await verdicts_of(client, iter([deposit("c")]))
    assert verdict.failure.reason == "ERROR_REASON_OVERLOADED"


async def test_one_command_id_on_two_streams_is_two_commands(client: Client) -> None:
    unknown = account_pb2.WithdrawRequest(account_id="a")
    commands = [deposit("same", "a"), unknown, deposit("same", "b")]
    verdicts = await verdicts_of(client, iter(commands))
    assert sorted(v.stream for v in verdicts) == ["", "account/a", "account/b"]


async def test_a_failure_is_given_to_the_command_of_its_own_category(
    client: Client, platform
) -> None:
    flight = Depart(flight_id="same")
    flight.header.command_id = "same"
    platform.failures = [OverloadedError("the flight finds no room at first")]
    verdicts = await verdicts_of(client, iter([flight, deposit("same", "same")]))
    assert sorted(v.stream for v in verdicts) == ["account/same", "flight/same"]


async def test_a_verdict_that_comes_once_more_is_given_to_no_other_command(
    client: Client, platform
) -> None:
    platform.twice = True
    platform.failures = [DomainDefectError("a defect", type="bank.v1.DepositRequest")]
    verdicts = await verdicts_of(client, iter([deposit("b", "b"), deposit("a", "a")]))
    assert [v.command_id for v in verdicts] == ["b", "a"]


async def test_a_batch_of_large_commands_stays_within_what_one_request_may_have(
    client: Client, platform
) -> None:
    commands = [Depart(flight_id="x" * size) for size in (1_500_000, 3_000_000, 10)]
    assert len(await verdicts_of(client, iter(commands))) == 3
    assert max(platform.batch_bytes) <= COMMAND_BYTES_MAX


async def test_a_fault_in_the_callers_own_commands_is_raised_to_the_caller(client: Client) -> None:
    def broken() -> Iterator[Deposit]:
        yield deposit("c")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await verdicts_of(client, broken())
    with pytest.raises(LookupError, match="no stream_id field"):
        await verdicts_of(client, iter([AppendRequest()]))


def test_tokens_keep_the_latest_of_each_stream() -> None:
    tokens = Tokens()
    assert tokens.text() == ""
    tokens.add(CommandResult(stream="a", last_version=2, token="a2"))
    tokens.add(CommandResult(stream="a", last_version=1, token="a1"))
    tokens.add(CommandResult(stream="b", last_version=9, token="b9"))
    tokens.add(CommandResult(stream="c", last_version=1))
    assert tokens.text() == "a2~b9"
    tokens.clear()
    assert tokens.text() == ""
