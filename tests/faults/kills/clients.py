"""Clients that go on whatever happens, and write down what they see.

A command is sent again with its id until there is a verdict, as the contract says. After a failure
that says that nothing was stored, some are given up for good: those must never show up.
"""

import asyncio
import itertools
import random
from collections import Counter
from types import TracebackType
from typing import Any, Self

from grpc import StatusCode, aio

from bank.v1 import account_pb2 as pb
from bank.v1.views_pb2 import GetAccountBalanceRequest
from bank.v1.views_pb2_grpc import AccountQueriesStub
from eventspine.client.errors import CallError, call_error
from eventspine.client.methods import method_of
from eventspine.v1.command_pb2 import (
    CommandHeader,
    CommandResult,
    CommandVerdict,
    ExecuteRequest,
    ExecuteResponse,
)
from eventspine.v1.query_pb2 import STALE_POLICY_FAIL, QueryHeader
from tests.faults.checker import CommandName
from tests.faults.load import Follower, History, Load, name_of

ATTEMPT_SECONDS = 10.0
AGAIN_SECONDS = 0.2
GIVEN_UP_SHARE = 0.3
READERS = 3
WRITERS = 10
BULK_WRITERS = 2
BULK_COMMANDS = 20
EXECUTE = "/eventspine.v1.CommandService/Execute"
ALL = ""
PREFIXES = (ALL, ALL, "account/hot-0", "account/cold-")
"""Of the streams that each subscription follows."""

_NOTHING_STORED = {
    f"ERROR_REASON_{name}" for name in ("STORE_UNAVAILABLE", "SHUTTING_DOWN", "OVERLOADED")
} | {"ERROR_REASON_DEADLINE_EXCEEDED", "ERROR_REASON_STREAM_VERSION_CONFLICT"}
_UNKNOWN = {"ERROR_REASON_OUTCOME_UNKNOWN"}
_OF_THE_GATEWAY = {
    *(StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED),
    *(StatusCode.UNKNOWN, StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED),
}
_TRY_AGAIN = {"ERROR_REASON_VIEW_BEHIND", "ERROR_REASON_ROW_NOT_FOUND"}


class Clients:
    """Writers, alone and in bulk, readers of their own writes, and subscribers; a context manager.

    Attributes:
        history: What all of them saw.
        followers: The subscriptions, in the order of `PREFIXES`.
        failures: How often each status came, by reason or code.
        shown: How often a query had to show the own write before it, and did.
        wrong: What no query should have answered, for people.
    """

    def __init__(self, address: str, seed: int) -> None:
        self.history = History()
        self.followers = [Follower(prefix) for prefix in PREFIXES]
        self.failures: Counter[str] = Counter()
        self.shown = 0
        self.wrong: list[str] = []
        self._address = address
        self._load = Load(self.history, seed)
        self._chance = random.Random(seed)
        self._ending = False
        self._working: list[asyncio.Task[None]] = []
        self._following: list[asyncio.Task[None]] = []
        self._channel: aio.Channel

    @property
    def acknowledged(self) -> int:
        """How many answers there were so far."""
        return len(self.history.answered)

    async def __aenter__(self) -> Self:
        self._channel = aio.insecure_channel(self._address)
        work = [self._write() for _ in range(WRITERS)]
        work += [self._write_bulk() for _ in range(BULK_WRITERS)]
        work += [self._read(f"reader-{number}") for number in range(READERS)]
        self._working = [asyncio.create_task(one) for one in work]
        self._following = [asyncio.create_task(self._follow(one)) for one in self.followers]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def check(self) -> None:
        """Raises what ended one of them."""
        for task in (*self._working, *self._following):
            if task.done() and task.exception() is not None:
                task.result()

    async def finish(self, seconds: float) -> None:
        """Lets every command that was begun come to its verdict, and begins no other."""
        self._ending = True
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._working)

    async def stop(self) -> None:
        """Ends all at once."""
        for task in (*self._working, *self._following):
            task.cancel()
        await asyncio.gather(*self._working, *self._following, return_exceptions=True)
        await self._channel.close()

    async def _write(self) -> None:
        while not self._ending:
            await self._carried(self._load.next())

    async def _write_bulk(self) -> None:
        """Sends batches on one stream for as long as it lasts; what had no verdict comes again."""
        left: dict[CommandName, Any] = {}
        while left or not self._ending:
            call = self._channel.stream_stream(
                EXECUTE, ExecuteRequest.SerializeToString, ExecuteResponse.FromString
            )()
            try:
                while left or not self._ending:
                    async with asyncio.timeout(ATTEMPT_SECONDS):
                        await self._batch(call, left)
            except aio.AioRpcError as failed:
                self._judge(call_error(failed), _UNKNOWN)
            except (TimeoutError, asyncio.InvalidStateError):
                self.failures["bulk stream without an answer"] += 1
            finally:
                call.cancel()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _batch(self, call: Any, left: dict[CommandName, Any]) -> None:
        """Sends what is left, and others with it; leaves what has to be sent again."""
        while len(left) < BULK_COMMANDS and not self._ending:
            request = self._load.next()
            left[name_of(request)] = request
        batch = ExecuteRequest()
        for request in left.values():
            self.history.send(request)
            batch.commands.add().Pack(request)
        await call.write(batch)
        verdicts = 0
        while verdicts < len(batch.commands):
            response = await call.read()
            if response is aio.EOF:
                raise TimeoutError
            for verdict in response.verdicts:
                verdicts += 1
                name = verdict.stream, verdict.command_id
                if self._noted(name, verdict):
                    del left[name]
        if left:
            await asyncio.sleep(AGAIN_SECONDS)

    def _noted(self, name: CommandName, verdict: CommandVerdict) -> bool:
        """Writes down a verdict; False where the command has to be sent again."""
        if verdict.HasField("result"):
            self.history.answer(name, verdict.result)
        elif verdict.failure.domain == "bank.v1":
            self.history.refuse(name)
        else:
            reason = verdict.failure.reason
            self.failures[reason] += 1
            if reason in _NOTHING_STORED:
                self.history.fail(name)
            else:
                assert reason in _UNKNOWN, f"{name} failed: {verdict.failure}"
            return False
        return True

    async def _read(self, account: str) -> None:
        """Deposits a cent at a time, and has to see each one in the next query."""
        opening = pb.OpenAccountRequest(
            header=CommandHeader(command_id=f"open {account}"), account_id=account, owner="Ann"
        )
        while not await self._carried(opening):
            opening.header.command_id += " again"
        cents = 0
        for number in itertools.count():
            if self._ending:
                return
            header = CommandHeader(command_id=f"{account} {number}")
            deposit = pb.DepositRequest(header=header, account_id=account, amount_cents=1)
            result = await self._carried(deposit)
            if result is not None:
                cents += 1
                await self._shows(account, result.token, cents)

    async def _shows(self, account: str, token: str, cents: int) -> None:
        header = QueryHeader(token=token, stale_policy=STALE_POLICY_FAIL)
        header.max_wait.seconds = 5
        request = GetAccountBalanceRequest(header=header, account_id=account)
        queries = AccountQueriesStub(self._channel)
        while True:
            try:
                reply = await queries.GetAccountBalance(request, timeout=ATTEMPT_SECONDS)
            except aio.AioRpcError as failed:
                self._judge(call_error(failed), _TRY_AGAIN)
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            if reply.row.balance_cents != cents:
                self.wrong.append(f"{account} showed {reply.row.balance_cents}, not {cents}")
            self.shown += 1
            return

    async def _carried(self, request: Any) -> CommandResult | None:
        """Sends a command until there is a verdict; None where it was refused or given up."""
        while True:
            sent = await self._sent(request)
            if isinstance(sent, CommandResult):
                return sent
            if sent == "refused":
                return None
            # Once an attempt may have stored it, only an answer tells.
            certain = sent == "failed" and self._certain(name_of(request))
            if certain and self._chance.random() < GIVEN_UP_SHARE:
                self.history.unanswered.pop(name_of(request), None)
                return None
            await asyncio.sleep(AGAIN_SECONDS)

    def _certain(self, name: tuple[str, str]) -> bool:
        sent = sum(one[:2] == name for one in self.history.sent[-5_000:])
        return sent == sum(one[:2] == name for one in self.history.failed[-5_000:])

    async def _sent(self, request: Any) -> CommandResult | str:
        method = method_of(request.DESCRIPTOR)
        call = self._channel.unary_unary(
            method.path, type(request).SerializeToString, method.response.FromString
        )
        history, name = self.history, name_of(request)
        history.send(request)
        try:
            response: Any = await call(request, timeout=ATTEMPT_SECONDS)
        except aio.AioRpcError as failed:
            error = call_error(failed)
            if error.domain == "bank.v1":
                history.refuse(name)
                return "refused"
            if error.reason in _NOTHING_STORED:
                self.failures[error.reason] += 1
                history.fail(name)
                return "failed"
            self._judge(error, _UNKNOWN)
            return "unknown"
        history.answer(name, response.result)
        result: CommandResult = response.result
        return result

    def _judge(self, error: CallError, known: set[str]) -> None:
        """Counts a failure that faults explain; raises any other one."""
        self.failures[error.reason or error.code.name] += 1
        if error.reason in known or error.reason in _NOTHING_STORED:
            return
        if error.reason or error.code not in _OF_THE_GATEWAY:
            raise error

    async def _follow(self, follower: Follower) -> None:
        while True:
            await follower.follow(self._address)
            await asyncio.sleep(AGAIN_SECONDS)
