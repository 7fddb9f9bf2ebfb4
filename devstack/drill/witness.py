"""Clients of a drill: they write down what was acknowledged, and later look whether it is there."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from google.protobuf.empty_pb2 import Empty

from bank.v1.account_pb2 import DepositRequest, OpenAccountRequest
from bank.v1.views_pb2 import GetAccountBalanceRequest
from eventspine.client.client import Client
from eventspine.client.errors import CallError
from eventspine.v1.command_pb2 import CommandHeader
from eventspine.v1.query_pb2 import ReadStreamRequest
from eventspine.v1.subscription_pb2 import SubscribeRequest

ACCOUNTS = 8
PACE_SECONDS = 0.02
PATIENCE_SECONDS = 300.0
AGAIN_SECONDS = 0.2
_EXPIRED = "ERROR_REASON_CURSOR_EXPIRED"


class Acknowledged(NamedTuple):
    """An answer: which command is at which version of which account's stream, and when it came."""

    account: str
    command_id: str
    version: int
    time: float


class Verdict(NamedTuple):
    """What became of what was acknowledged.

    Attributes:
        looked_at: How many answers there were.
        lost: Those that are not at the version that was answered.
        repeated: Commands that are in a stream twice.
        balances_wrong: Accounts whose row is not what their events make.
    """

    looked_at: int
    lost: tuple[Acknowledged, ...]
    repeated: tuple[str, ...]
    balances_wrong: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether all is there once."""
        return not (self.lost or self.repeated or self.balances_wrong)


class Witness:
    """Deposits, and one subscription to all events.

    Attributes:
        acknowledged: All answers, in the order in which they came.
        seen: How many records the subscription was given.
        expired: How often it was told that its cursor is of a store that is gone.
    """

    def __init__(self, client: Client) -> None:
        """Uses a client, which others close."""
        self.acknowledged: list[Acknowledged] = []
        self.seen = 0
        self.expired = 0
        self._client = client
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Writes for as long as the block runs; each command that was begun gets its answer."""
        going = asyncio.Event()
        tasks = [asyncio.create_task(self._write(number, going)) for number in range(ACCOUNTS)]
        try:
            yield
        finally:
            going.set()
            await asyncio.gather(*tasks)

    def longest_gap(self, since: float) -> float:
        """Returns the most seconds between two answers from a moment on."""
        times = [one.time for one in self.acknowledged if one.time >= since]
        gaps = [later - earlier for earlier, later in itertools.pairwise([since, *times])]
        return max(gaps, default=0.0)

    async def follow(self) -> None:
        """Subscribes to all events, from the beginning again where its cursor has expired."""
        while True:
            request = SubscribeRequest(beginning=Empty())
            try:
                async for _ in self._client.subscribe(request, patience_seconds=PATIENCE_SECONDS):
                    self.seen += 1
            except CallError as error:
                if error.reason != _EXPIRED:
                    raise
                self.expired += 1

    async def judge(self) -> Verdict:
        """Reads every stream and row, and compares them with what was acknowledged."""
        lost: list[Acknowledged] = []
        repeated: list[str] = []
        wrong: list[str] = []
        by_account: dict[str, list[Acknowledged]] = {}
        for one in self.acknowledged:
            by_account.setdefault(one.account, []).append(one)
        for account, answers in by_account.items():
            ids = await self._command_ids(account)
            lost += [a for a in answers if ids[a.version - 1 : a.version] != [a.command_id]]
            repeated += [f"{account} {one}" for one in set(ids) if ids.count(one) > 1]
            if await self._balance(account) != len(ids) - 1:
                wrong.append(account)
        return Verdict(len(self.acknowledged), tuple(lost), tuple(repeated), tuple(wrong))

    async def _write(self, number: int, ended: asyncio.Event) -> None:
        account = f"drill-{number}"
        if not any(one.account == account for one in self.acknowledged):
            header = CommandHeader(command_id=f"open-{account}")
            opening = OpenAccountRequest(header=header, account_id=account, owner="Ann")
            await self._acknowledge(account, opening)
        while not ended.is_set():
            header = CommandHeader(command_id=f"pay-{next(self._numbers)}")
            deposit = DepositRequest(header=header, account_id=account, amount_cents=1)
            await self._acknowledge(account, deposit)
            await asyncio.sleep(PACE_SECONDS)

    async def _acknowledge(
        self, account: str, request: OpenAccountRequest | DepositRequest
    ) -> None:
        answer = await self._client.execute(request, timeout_seconds=PATIENCE_SECONDS)
        version = answer.result.last_version
        name = request.header.command_id
        self.acknowledged.append(Acknowledged(account, name, version, time.monotonic()))

    async def _command_ids(self, account: str) -> list[str]:
        ids: list[str] = []
        async for batch in self._client.read(ReadStreamRequest(stream=f"account/{account}")):
            ids += [record.command_id for record in batch.records]
        return ids

    async def _balance(self, account: str) -> int:
        reply = await self._client.execute(GetAccountBalanceRequest(account_id=account))
        balance: int = reply.row.balance_cents
        return balance
