"""Those who use the platform, and what they write down: commands sent, answers, and what came."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from bank.v1 import account_pb2 as pb
from eventspine.domain.errors import EventspineError, RefusalError
from eventspine.rpc.errors import (
    DeadlineExceededError,
    OverloadedError,
    ShuttingDownError,
    StreamVersionConflictError,
)
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.v1.command_pb2 import CommandHeader
from eventspine.v1.record_pb2 import EventRecord
from eventspine.v1.subscription_pb2 import SubscribeRequest, SubscribeResponse
from tests.faults.checker import Answered, CommandName, Refused, Seen, Sent
from tests.faults.simulation.faults import Faults
from tests.faults.simulation.process import CommandProcess, Process, QueryProcess

NOTHING_STORED = (
    DeadlineExceededError,
    OverloadedError,
    RefusalError,
    ShuttingDownError,
    StoreUnavailableError,
    StreamVersionConflictError,
)
"""What says that this sending of a command has stored nothing, and never will."""

ACCOUNTS = ("a", "b", "d")
"""Of these, some are in either partition of the log."""


class GoneError(Exception):
    """The process has died meanwhile."""


async def in_process(process: Process, work: Any) -> Any:
    """Runs something in a process for somebody outside of it.

    Raises:
        GoneError: The process has died.
    """
    if process.line.dead:
        work.close()
        raise GoneError
    task = process.spawn(work)
    await asyncio.wait([task])
    if task.cancelled() or process.line.dead:
        # What it would have said is never heard of.
        if not task.cancelled():
            task.exception()
        raise GoneError
    return task.result()


class History:
    """What clients have seen."""

    def __init__(self, faults: Faults) -> None:
        """Starts empty; times are those of the event loop."""
        self.faults = faults
        self.sent: list[Sent] = []
        self.answered: list[Answered] = []
        self.refused: list[Refused] = []
        self.unexpected: list[str] = []
        self.transcript: list[tuple[int, Seen]] = []

    def acknowledged(self, name: CommandName) -> bool:
        """Tells whether a command has been answered."""
        return any(name == (one.stream, one.command_id) for one in self.answered)

    @staticmethod
    def now() -> float:
        """Returns the time, the same for all clients."""
        return asyncio.get_running_loop().time()


class Client:
    """Sends commands one after the other, some of them again, to whichever process lives."""

    def __init__(
        self,
        number: int,
        seed: int,
        history: History,
        living: Callable[[], Sequence[CommandProcess]],
    ) -> None:
        """Does the same for the same seed, as far as it is answered the same."""
        self._name = f"k{number}"
        self._chance = random.Random(f"{seed} client {number}")
        self._history = history
        self._living = living

    async def run(self, commands: int) -> None:
        """Sends so many commands."""
        for number in range(commands):
            request = self._request(f"{self._name}-{number}")
            answered = await self._sent_until_settled(request)
            if answered and self._chance.random() < 0.2:
                await self._send(request)
            await asyncio.sleep(self._chance.random() * 2.0)

    def _request(self, command_id: str) -> Any:
        chance, account = self._chance, self._chance.choice(ACCOUNTS)
        header = CommandHeader(command_id=command_id)
        kind, amount = chance.random(), chance.randint(1, 20)
        if kind < 0.25 or command_id.endswith("-0"):
            return pb.OpenAccountRequest(header=header, account_id=account, owner="Ann")
        if kind < 0.75:
            return pb.DepositRequest(header=header, account_id=account, amount_cents=amount)
        return pb.WithdrawRequest(header=header, account_id=account, amount_cents=amount)

    async def _sent_until_settled(self, request: Any) -> bool:
        """Sends a command until there is an answer, or the client gives up."""
        for _ in range(30):
            settled = await self._send(request)
            if settled is not None:
                return settled
            if self._chance.random() < 0.1:
                return False
            await asyncio.sleep(0.05 + self._chance.random())
        return False

    async def _send(self, request: Any) -> bool | None:
        """Sends a command once. True: answered; False: refused; None: neither."""
        living = self._living()
        if not living:
            return None
        history, process = self._history, self._chance.choice(living)
        name = f"account/{request.account_id}", request.header.command_id
        history.sent.append(Sent(*name, history.now()))
        try:
            result = await in_process(process, process.call(request))
        except (OutcomeUnknownError, GoneError) as error:
            history.faults.tell(f"{name} at {process.line.name}: {type(error).__name__}")
            return None
        except NOTHING_STORED as error:
            history.faults.tell(f"{name} at {process.line.name}: {type(error).__name__}")
            if isinstance(error, RefusalError) or not history.acknowledged(name):
                history.refused.append(Refused(*name, history.now()))
            return False if isinstance(error, RefusalError) or self._gives_up() else None
        except EventspineError as error:
            history.unexpected.append(f"{name} was answered by {error!r}")
            return False
        self._answered(name, result)
        return True

    def _gives_up(self) -> bool:
        return self._chance.random() < 0.3

    def _answered(self, name: tuple[str, str], result: Any) -> None:
        history = self._history
        last, count = result.last_version, result.event_count
        history.faults.tell(f"{name}: {last} {count} {result.replayed}")
        history.answered.append(Answered(*name, last, count, result.replayed, history.now()))


Resume = Callable[[str, Sequence[bytes]], SubscribeRequest]
"""Makes the request to go on of the last cursor and the records so far."""


def by_cursor(cursor: str, records: Sequence[bytes]) -> SubscribeRequest:
    """Goes on after the cursor; empty means from the beginning."""
    request = SubscribeRequest(cursor=cursor)
    if not cursor:
        request.beginning.SetInParent()
    return request


def by_time(cursor: str, records: Sequence[bytes]) -> SubscribeRequest:
    """Goes on at the time of the last record, which is wrong."""
    request = by_cursor("", ())
    if records:
        request.time.CopyFrom(EventRecord.FromString(records[-1]).append_time)
    return request


class Subscriber:
    """Follows everything, on one process after the other; reads slowly at times."""

    def __init__(
        self, history: History, living: Callable[[], Sequence[QueryProcess]], resume: Resume
    ) -> None:
        """Has read nothing yet."""
        self._history = history
        self._living = living
        self._resume = resume
        self._cursor = ""
        self._records: list[bytes] = []

    async def run(self) -> None:
        """Reads until it is cancelled."""
        faults = self._history.faults
        while True:
            for process in self._living()[:1]:
                request = self._resume(self._cursor, self._records)
                request.batch_records_max = 3
                try:
                    await self._read(process, request)
                except (GoneError, StoreUnavailableError, ShuttingDownError) as error:
                    faults.tell(f"the subscription ends: {type(error).__name__}")
                except EventspineError as error:
                    self._history.unexpected.append(f"the subscription ends: {error!r}")
                    return
            await asyncio.sleep(0.5)

    async def _read(self, process: QueryProcess, request: SubscribeRequest) -> None:
        faults = self._history.faults
        replies = process.subscribe(request)
        while not faults.strikes("reader leaves", "subscription"):
            reply = await in_process(process, _next(replies))
            self._take(reply)
            if faults.strikes("reader stalls", "subscription"):
                await asyncio.sleep(faults.between(1.0, 12.0))
        await in_process(process, _close(replies))

    def _take(self, reply: Any) -> None:
        message = SubscribeResponse.FromString(reply) if isinstance(reply, bytes) else reply
        kind = message.WhichOneof("message")
        part = getattr(message, kind)
        if kind == "batch":
            for sequence, record in zip(part.sequences, part.records, strict=True):
                encoded = record.SerializeToString()
                self._records.append(encoded)
                self._history.transcript.append((part.partition, Seen(sequence, encoded)))
            self._history.faults.tell(f"came {part.partition} {[*part.sequences]}")
        if kind != "fell_behind":
            self._cursor = part.cursor


async def _next(replies: Any) -> Any:
    return await anext(replies)


async def _close(replies: Any) -> None:
    await replies.aclose()
