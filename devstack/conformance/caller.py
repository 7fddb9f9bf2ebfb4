"""A caller of a platform by its generated stubs, and what those who examine one ask again.

The kit and the repository's own journeys call by the same words.
"""

import itertools
from collections.abc import AsyncIterable, Awaitable, Iterable, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from grpc import aio

from bank.v1 import account_pb2 as bank
from bank.v1 import views_pb2 as bank_views
from bank.v1.account_pb2_grpc import AccountCommandsStub
from bank.v1.views_pb2_grpc import AccountQueriesStub
from eventspine.client.errors import CallError, call_error
from eventspine.v1.admin_pb2_grpc import AdminServiceStub
from eventspine.v1.command_pb2 import (
    AppendRequest,
    CommandHeader,
    CommandResult,
    CommandVerdict,
    ExecuteRequest,
    NewEvent,
    WaitFor,
)
from eventspine.v1.command_pb2_grpc import CommandServiceStub
from eventspine.v1.query_pb2 import STALE_POLICY_FAIL, QueryHeader, ReadStreamRequest
from eventspine.v1.query_pb2_grpc import QueryServiceStub
from eventspine.v1.record_pb2 import EventRecord, Expectation
from eventspine.v1.subscription_pb2 import SubscribeRequest, SubscribeResponse

BALANCES: Final = "bank.v1.AccountBalance"
ANYHOW: Final = Expectation(any=Empty())

_IDS = itertools.count(1)
Reply = TypeVar("Reply")


class NotRefusedError(AssertionError):
    """A call was answered that should have been refused."""


class Caller:
    """Calls a platform by its generated stubs."""

    def __init__(
        self,
        channel: aio.Channel,
        *,
        queries: aio.Channel | None = None,
        admin: aio.Channel | None = None,
    ) -> None:
        """Takes channels of the caller's own, which it does not close.

        Args:
            channel: For all calls, or for commands only.
            queries: For queries and subscriptions, where they have an address of their own.
            admin: For operators' calls, likewise.
        """
        self.channel = channel
        self.accounts = AccountCommandsStub(channel)
        self.commands = CommandServiceStub(channel)
        self.balances = AccountQueriesStub(queries or channel)
        self.queries = QueryServiceStub(queries or channel)
        self.admin = AdminServiceStub(admin or channel)

    async def open(self, account: str, *, cents: int = 0, owner: str = "Ann") -> CommandResult:
        """Opens an account, and puts money into it where an amount is given."""
        request = opening(account, owner)
        result = (await self.accounts.OpenAccount(request)).result
        return await self.deposit(account, cents) if cents else result

    async def deposit(self, account: str, cents: int, **fields: Any) -> CommandResult:
        """Puts money into an account; `fields` are those of the command's header."""
        return (await self.accounts.Deposit(depositing(account, cents, **fields))).result

    async def withdraw(self, account: str, cents: int, **fields: Any) -> CommandResult:
        """Takes money out of an account; `fields` are those of the command's header."""
        return (await self.accounts.Withdraw(withdrawing(account, cents, **fields))).result

    async def balance(self, account: str, **fields: Any) -> bank_views.GetAccountBalanceResponse:
        """Asks for a balance; `fields` are those of the query's header."""
        request = bank_views.GetAccountBalanceRequest(
            header=QueryHeader(**fields), account_id=account
        )
        return await self.balances.GetAccountBalance(request)

    async def records(self, stream: str, **fields: Any) -> list[EventRecord]:
        """Reads a whole stream, or the part of it that `fields` of the request name."""
        request = ReadStreamRequest(stream=stream, **fields)
        batches = await collected(self.queries.ReadStream(request))
        return [record for batch in batches for record in batch.records]

    async def append(self, stream: str, events: Iterable[Message], **fields: Any) -> CommandResult:
        """Appends events that were decided here; `fields` are those of the command's header."""
        fields.setdefault("expected", ANYHOW)
        request = AppendRequest(header=header(**fields), stream=stream, events=map(packed, events))
        return (await self.commands.Append(request)).result

    async def execute(self, *batches: Sequence[Message]) -> list[CommandVerdict]:
        """Sends batches of commands on one bulk stream; returns the verdicts as they come."""
        call = self.commands.Execute()
        for batch in batches:
            request = ExecuteRequest()
            for command in batch:
                request.commands.add().Pack(command)
            await call.write(request)
        await call.done_writing()
        return [verdict for reply in await collected(call) for verdict in reply.verdicts]

    def subscribe(self, **fields: Any) -> "Reader":
        """Begins a subscription, by default at the beginning."""
        if not {"beginning", "end", "cursor", "after_version", "time"} & fields.keys():
            fields["beginning"] = Empty()
        return Reader(self.queries.Subscribe(SubscribeRequest(**fields)))


class Reader:
    """One subscription, and all that was read of it.

    Attributes:
        messages: What has come so far.
        records: The events of it.
    """

    def __init__(self, call: Any) -> None:
        """Takes the call, which it cancels when it leaves."""
        self.call = call
        self.messages: list[SubscribeResponse] = []
        self.records: list[EventRecord] = []

    @property
    def kinds(self) -> list[str]:
        """The kind of each message that has come."""
        return [kind(message) for message in self.messages]

    @property
    def cursor(self) -> str:
        """The cursor of the last message."""
        return cursor_of(self.messages[-1])

    async def read(self) -> SubscribeResponse:
        """Reads the next message."""
        message: SubscribeResponse = await self.call.read()
        self.messages.append(message)
        self.records += message.batch.records
        return message

    async def until(self, wanted: str) -> SubscribeResponse:
        """Reads up to the next message of a kind."""
        while kind(message := await self.read()) != wanted:
            pass
        return message

    async def taken(self, count: int) -> list[EventRecord]:
        """Reads until at least so many records have come, and returns all of them."""
        while len(self.records) < count:
            await self.read()
        return self.records

    def leave(self) -> None:
        """Ends the subscription."""
        self.call.cancel()


def kind(message: SubscribeResponse) -> str:
    """Returns the kind of a message of a subscription."""
    return str(message.WhichOneof("message"))


def cursor_of(message: SubscribeResponse) -> str:
    """Returns the cursor of a message of a subscription."""
    return str(getattr(message, kind(message)).cursor)


def header(command_id: str = "", **fields: Any) -> CommandHeader:
    """Returns the header of a command, with an id of its own unless one is given."""
    return CommandHeader(command_id=command_id or f"c{next(_IDS)}", **fields)


def opening(account: str, owner: str = "Ann", **fields: Any) -> bank.OpenAccountRequest:
    """Returns the request to open an account; `fields` are those of its header."""
    return bank.OpenAccountRequest(header=header(**fields), account_id=account, owner=owner)


def depositing(account: str, cents: int, **fields: Any) -> bank.DepositRequest:
    """Returns the request to put money into an account; `fields` are those of its header."""
    return bank.DepositRequest(header=header(**fields), account_id=account, amount_cents=cents)


def withdrawing(account: str, cents: int, **fields: Any) -> bank.WithdrawRequest:
    """Returns the request to take money out of an account; `fields` are those of its header."""
    return bank.WithdrawRequest(header=header(**fields), account_id=account, amount_cents=cents)


def packed(event: Message) -> NewEvent:
    """Returns an event as an append carries it."""
    return NewEvent(type=event.DESCRIPTOR.full_name, payload=event.SerializeToString())


def projected(*views: str, seconds: int = 10) -> WaitFor:
    """Returns the wish to be answered when views show the events; all views without a name."""
    return WaitFor(views=views, max_wait=Duration(seconds=seconds))


def showing(token: str) -> dict[str, Any]:
    """Returns the fields of a query's header that demand what a token stands for."""
    return {"token": token, "stale_policy": STALE_POLICY_FAIL}


async def collected(replies: AsyncIterable[Reply]) -> list[Reply]:
    """Returns all replies of a stream that ends."""
    return [reply async for reply in replies]


async def refusal(call: Awaitable[Any]) -> CallError:
    """Returns the error that a call is answered with.

    Raises:
        NotRefusedError: The call was answered.
    """
    try:
        answer = await call
    except aio.AioRpcError as error:
        return call_error(error)
    raise NotRefusedError(f"the call was not refused but answered: {str(answer)[:200]!r}")


def told(error: CallError) -> str:
    """Returns the code and reason of an error, without what all reasons of its enum begin with."""
    return f"{error.code.name} {error.reason.removeprefix('ERROR_REASON_')}"
