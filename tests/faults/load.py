"""Many clients that send commands and write down what they see, over the deaths of a platform.

Whatever had no answer is sent again after each restart, with the same command id; so are some
commands that had one, to see the first answer come again.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from google.protobuf.message import Message
from grpc import StatusCode, aio

from bank.v1 import account_pb2 as pb
from eventspine.client.errors import CallError, call_error
from eventspine.client.methods import method_of
from eventspine.v1.command_pb2 import (
    CommandHeader,
    CommandResult,
    CommandVerdict,
    ExecuteRequest,
    ExecuteResponse,
)
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeRequest, SubscribeResponse
from tests.faults.checker import Answered, CommandName, Failed, Refused, Seen, Sent

HOT_ACCOUNTS = ("hot-0", "hot-1")
BATCH_COMMANDS = 40
BULK_OUTSTANDING_MAX = 200
REPEATED_SHARE = 0.08


class History:
    """What all clients have seen.

    Attributes:
        unanswered: Commands that were sent and have no verdict; the oldest first.
    """

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.answered: list[Answered] = []
        self.refused: list[Refused] = []
        self.failed: list[Failed] = []
        self.unanswered: dict[CommandName, Any] = {}
        self.settled: list[Any] = []
        self._clock = asyncio.get_running_loop().time

    def send(self, request: Any) -> None:
        """Writes down that a command is sent now."""
        name = name_of(request)
        self.sent.append(Sent(*name, self._clock()))
        self.unanswered[name] = request

    def answer(self, name: CommandName, result: CommandResult) -> None:
        """Writes down an acknowledgement."""
        place = result.last_version, result.event_count, result.replayed
        self.answered.append(Answered(*name, *place, self._clock()))
        request = self.unanswered.pop(name, None)
        if request is not None:
            self.settled.append(request)

    def fail(self, name: CommandName) -> None:
        """Writes down a failure that says that nothing was stored; it may be sent again."""
        self.failed.append(Failed(*name, self._clock()))

    def refuse(self, name: CommandName) -> None:
        """Writes down a refusal of the domain."""
        self.refused.append(Refused(*name, self._clock()))
        self.unanswered.pop(name, None)


def name_of(request: Any) -> CommandName:
    return f"account/{request.account_id}", request.header.command_id


class Load:
    """Clients of one platform after the other."""

    def __init__(self, history: History, seed: int) -> None:
        self._history = history
        self._random = random.Random(seed)
        self._count = 0
        self._again: list[Any] = []

    async def run(self, address: str, *, unary: int, bulk: int) -> None:
        """Sends until the platform is gone. What has no answer from before goes first."""
        self._again = [*self._history.unanswered.values()]
        self._history.unanswered.clear()
        async with aio.insecure_channel(address) as channel:
            await asyncio.gather(
                *(self._unary(channel) for _ in range(unary)),
                *(self._bulk(channel) for _ in range(bulk)),
            )
        # What no client came to send again is still without an answer.
        self._history.unanswered |= {name_of(request): request for request in self._again}

    async def settle(self, address: str, repeated: int) -> None:
        """Sends all that has no answer until it has one, and some that have one once more."""
        history = self._history
        sample = self._random.sample(history.settled, min(repeated, len(history.settled)))
        requests = [*history.unanswered.values(), *sample]
        async with aio.insecure_channel(address) as channel:
            found = await asyncio.gather(
                *(_sent(channel, history, request) for request in requests)
            )
        assert all(found), f"{found.count(False)} of {len(found)} had no answer"

    def next(self) -> Any:
        """Returns what to send next."""
        if self._again:
            return self._again.pop(0)
        if self._history.settled and self._random.random() < REPEATED_SHARE:
            return self._random.choice(self._history.settled)
        self._count += 1
        header = CommandHeader(command_id=f"c{self._count}")
        kind = self._random.random()
        if self._count <= len(HOT_ACCOUNTS) or kind < 0.3:
            hot = HOT_ACCOUNTS[self._count - 1 : self._count]
            account = hot[0] if hot else f"cold-{self._count}"
            return pb.OpenAccountRequest(header=header, account_id=account, owner="Ann")
        account = self._random.choice(HOT_ACCOUNTS)
        if kind < 0.4 and self._count > 50:
            account = f"cold-{self._random.randrange(self._count)}"
        amount = self._random.randrange(1, 100)
        verb = pb.WithdrawRequest if kind > 0.8 else pb.DepositRequest
        return verb(header=header, account_id=account, amount_cents=amount)

    async def _unary(self, channel: aio.Channel) -> None:
        while await _sent(channel, self._history, self.next()):
            pass

    async def _bulk(self, channel: aio.Channel) -> None:
        history, outstanding = self._history, asyncio.Semaphore(BULK_OUTSTANDING_MAX)
        call = channel.stream_stream(
            "/eventspine.v1.CommandService/Execute",
            ExecuteRequest.SerializeToString,
            ExecuteResponse.FromString,
        )()

        async def write() -> None:
            while True:
                batch = ExecuteRequest()
                for _ in range(BATCH_COMMANDS):
                    await outstanding.acquire()
                    request = self.next()
                    history.send(request)
                    batch.commands.add().Pack(request)
                await call.write(batch)

        writer = asyncio.create_task(write())
        with suppress(aio.AioRpcError):
            async for response in call:
                for verdict in response.verdicts:
                    outstanding.release()
                    _noted(history, verdict)
        writer.cancel()
        with suppress(asyncio.CancelledError, aio.AioRpcError, asyncio.InvalidStateError):
            await writer


def _noted(history: History, verdict: CommandVerdict) -> None:
    name = verdict.stream, verdict.command_id
    if verdict.HasField("result"):
        history.answer(name, verdict.result)
    elif verdict.failure.domain == "bank.v1":
        history.refuse(name)
    else:
        raise AssertionError(f"{name} failed: {verdict.failure}")


async def _sent(channel: aio.Channel, history: History, request: Message) -> bool:
    """Sends a command once and writes down what comes; False where the platform is gone."""
    method = method_of(request.DESCRIPTOR)
    call = channel.unary_unary(
        method.path, type(request).SerializeToString, method.response.FromString
    )
    history.send(request)
    try:
        response: Any = await call(request)
    except aio.AioRpcError as failed:
        error: CallError = call_error(failed)
        if error.domain == "bank.v1":
            history.refuse(name_of(request))
            return True
        gone = not error.reason and error.code == StatusCode.UNAVAILABLE
        assert gone, f"{name_of(request)} failed: {error}"
        return False
    history.answer(name_of(request), response.result)
    return True


class Follower:
    """One subscription over many connections, resumed by cursor only.

    Attributes:
        transcript: All records that came, in order.
        resumed: How often it has gone on in the middle.
    """

    def __init__(self, stream_prefix: str = "") -> None:
        self.transcript: list[Seen] = []
        self.resumed = 0
        self._filter = EventFilter(stream_prefix=stream_prefix)
        self._cursor = ""

    async def follow(self, address: str, enough: Callable[[], bool] = lambda: False) -> None:
        """Reads on until the platform is gone, or until it is enough at a catching up."""
        request = SubscribeRequest(cursor=self._cursor, filter=self._filter)
        if not self._cursor:
            request.beginning.SetInParent()
        self.resumed += bool(self._cursor)
        async with aio.insecure_channel(address) as channel:
            with suppress(aio.AioRpcError):
                async for message in self._messages(channel, request):
                    kind = message.WhichOneof("message")
                    part = getattr(message, kind)
                    if kind == "batch":
                        # Encoded anew, the records have the same bytes: see the golden records.
                        self.transcript += [
                            Seen(sequence, record.SerializeToString(), part.partition)
                            for sequence, record in zip(part.sequences, part.records, strict=True)
                        ]
                    if kind != "fell_behind":
                        self._cursor = part.cursor
                    if enough():
                        return

    def _messages(
        self, channel: aio.Channel, request: SubscribeRequest
    ) -> AsyncIterator[SubscribeResponse]:
        call = channel.unary_stream(
            "/eventspine.v1.QueryService/Subscribe",
            SubscribeRequest.SerializeToString,
            SubscribeResponse.FromString,
        )
        messages: AsyncIterator[SubscribeResponse] = aiter(call(request))
        return messages
