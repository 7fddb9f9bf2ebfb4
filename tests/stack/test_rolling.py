"""Every service is restarted under load; promise: callers notice nothing, nothing is lost or twice.

Calls go through both tiers of Envoy by the platform's client, which sends again what it may.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from google.protobuf.empty_pb2 import Empty

from bank.v1 import account_pb2 as bank
from bank.v1 import views_pb2
from bank.v1.views_pb2_grpc import AccountQueriesStub
from eventspine.client.client import Client
from eventspine.v1.command_pb2 import CommandHeader
from eventspine.v1.query_pb2 import STALE_POLICY_FAIL, QueryHeader
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeRequest
from tests.stack.forking import Forking
from tests.stack.platform import Ground, StackPlatform

ACCOUNTS = 5
CENTS = 1


@pytest.fixture
async def platform(
    forking: Forking, ground: Ground, tmp_path: Path
) -> AsyncIterator[StackPlatform]:
    settings = {"EVENTSPINE_DRAIN_SECONDS": "3"}
    async with StackPlatform(forking, ground, tmp_path, settings=settings) as running:
        yield running


class Load:
    """Deposits, each followed by a query that has to show it, until it is told to stop."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.deposits = dict.fromkeys((f"rolling-{number}" for number in range(ACCOUNTS)), 0)
        self.going = True

    async def account(self, account: str) -> None:
        opening = bank.OpenAccountRequest(account_id=account, owner="Ann")
        await self.client.execute(opening)
        queries = AccountQueriesStub(self.client.channel)
        for number in itertools.count(1):
            if not self.going:
                return
            header = CommandHeader(command_id=f"{account}-{number}")
            request = bank.DepositRequest(header=header, account_id=account, amount_cents=CENTS)
            result = (await self.client.execute(request)).result
            self.deposits[account] = number
            header = QueryHeader(token=result.token, stale_policy=STALE_POLICY_FAIL)
            header.max_wait.seconds = 30
            asked = views_pb2.GetAccountBalanceRequest(header=header, account_id=account)
            reply = await queries.GetAccountBalance(asked, wait_for_ready=True)
            assert reply.row.balance_cents == number


async def followed(client: Client, seen: dict[str, int]) -> None:
    """Subscribes for as long as it is not cancelled, and checks that each version comes once."""
    request = SubscribeRequest(beginning=Empty(), filter=EventFilter(categories=["account"]))
    async with aclosing(aiter(client.subscribe(request))) as events:
        async for event in events:
            assert event.stream_version == seen.get(event.stream, 0) + 1
            seen[event.stream] = event.stream_version


@pytest.mark.timeout(900)
async def test_a_rolling_restart_of_every_service_is_not_noticed(platform: StackPlatform) -> None:
    seen: dict[str, int] = {}
    async with Client.connect(platform.address) as client, asyncio.TaskGroup() as group:
        load = Load(client)
        working = [group.create_task(load.account(account)) for account in load.deposits]
        following = group.create_task(followed(client, seen))
        for name in list(platform.processes):
            assert await platform.stopped(name) == 0
            before = dict(load.deposits)
            platform.start(name)
            await platform.serving(name)
            async with asyncio.timeout(120):
                while any(load.deposits[name] <= before[name] for name in before):  # noqa: ASYNC110 - polled
                    await asyncio.sleep(0.05)
        load.going = False
        await asyncio.gather(*working)
        stored = {f"account/{name}": number + 1 for name, number in load.deposits.items()}
        async with asyncio.timeout(60):
            while seen != stored:  # noqa: ASYNC110 - polled, to the end
                await asyncio.sleep(0.05)
        following.cancel()
