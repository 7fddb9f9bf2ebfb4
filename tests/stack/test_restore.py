"""A lost keyspace comes back from a backup and from Kafka, while its services go on running."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from bank.v1 import account_pb2 as bank
from bank.v1.views_pb2 import GetAccountBalanceRequest
from bank.v1.views_pb2_grpc import AccountQueriesStub
from devstack.backup.load import batches
from devstack.backup.recover import recovered
from devstack.backup.restore import UnfitBackupError, check_backup
from devstack.backup.restore_stack import restore_stack
from devstack.backup.save import save
from devstack.stack.services import Instances
from eventspine.client.client import Client
from eventspine.client.errors import CallError
from eventspine.storage.cassandra.restore import loading
from eventspine.storage.errors import NotEmptyError, RestoreOrderError
from eventspine.storage.kafka.remains import remains
from eventspine.storage.kafka.settings import bus_settings
from eventspine.storage.stack import StackSettings
from eventspine.v1.admin_pb2 import VerifyRequest
from eventspine.v1.admin_pb2_grpc import AdminServiceStub
from eventspine.v1.command_pb2 import CommandHeader
from eventspine.v1.query_pb2 import STALE_POLICY_FAIL, QueryHeader
from tests.stack.forking import ROOT, Forking
from tests.stack.platform import Ground, StackPlatform
from tests.storage.cassandra_keyspace import drop

ACCOUNTS = ("ann", "bob", "cid")
TENANT = "lost"
SECONDS = 120.0


def opening(account: str) -> bank.OpenAccountRequest:
    header = CommandHeader(command_id=f"open-{account}")
    return bank.OpenAccountRequest(header=header, account_id=account, owner=account.title())


def deposit(account: str, number: int) -> bank.DepositRequest:
    header = CommandHeader(command_id=f"deposit-{account}-{number}")
    return bank.DepositRequest(header=header, account_id=account, amount_cents=number)


async def balance(client: Client, account: str, token: str) -> int:
    """Returns a balance that shows at least what the token stands for."""
    header = QueryHeader(token=token, stale_policy=STALE_POLICY_FAIL, max_wait={"seconds": 10})
    request = GetAccountBalanceRequest(header=header, account_id=account)
    answer = await AccountQueriesStub(client.channel).GetAccountBalance(request)
    return answer.row.balance_cents


async def command(platform: StackPlatform, *arguments: str) -> Any:
    """Runs `eventspine` with the settings of a platform's services; returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devstack.cli.main", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **platform.settings},
        cwd=ROOT,
    )
    told, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return json.loads(told)


def backed_up(address: str, folder: Path) -> None:
    with grpc.insecure_channel(address) as channel:
        save(AdminServiceStub(channel), folder)


async def cut_off(folder: Path, settings: StackSettings) -> None:
    """Does what a restore does, up to the moment at which it has loaded everything."""
    checked = check_backup(folder)
    ends = checked.manifest.ends
    settings = replace(settings, partitions=len(ends))
    bus = bus_settings(settings, len(ends))
    left = await asyncio.to_thread(remains, bus)
    found = recovered(checked.chains, ends, left.log, left.events)
    async with loading(settings) as loader:
        for batch in batches(folder, checked.manifest):
            await loader.records(batch.entries)
            await loader.commands(batch.commands)
        await loader.records(found.entries)
        await loader.commands(found.commands)


async def served_again(client: Client, account: str, token: str) -> None:
    """Waits until every service has opened the restored store, and a view shows what was lost."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await client.execute(opening(account))
                await balance(client, account, token)
                return
            except (CallError, grpc.RpcError):
                await asyncio.sleep(0.2)


@pytest.mark.timeout(600)
async def test_what_was_acknowledged_before_and_after_the_backup_comes_back(
    forking: Forking, ground: Ground, tmp_path: Path
) -> None:
    settings = StackSettings(
        contact_points=(ground.settings["EVENTSPINE_CONTACT_POINTS"],),
        bootstrap_servers=(ground.kafka,),
        keyspace=f"{ground.keyspace}_lost",
        tenant=TENANT,
        connect_timeout_seconds=60,
        request_timeout_seconds=30,
    )
    platform = StackPlatform(
        forking,
        ground,
        tmp_path,
        tenant=TENANT,
        settings={"EVENTSPINE_KEYSPACE": settings.keyspace},
        instances=Instances(command=1, processor=1, query=1),
    )
    settings = replace(settings, topic_prefix=platform.topic_prefix)
    folder = tmp_path / "backup"
    async with platform, Client.connect(platform.address) as client:
        for account in ACCOUNTS:
            await client.execute(opening(account))
            for number in range(1, 6):
                last = await client.execute(deposit(account, number))
            # A backup holds what is in the log.
            assert await balance(client, account, last.result.token) == 15
        await asyncio.to_thread(backed_up, platform.address, folder)
        later = [await client.execute(deposit(account, 6)) for account in ACCOUNTS]
        tokens = dict(zip(ACCOUNTS, [one.result.token for one in later], strict=True))
        for account in ACCOUNTS:
            assert await balance(client, account, tokens[account]) == 21

        with pytest.raises(NotEmptyError, match=f"tenant {TENANT} has events in keyspace"):
            await restore_stack(folder, settings, recover=True)
        with pytest.raises(UnfitBackupError, match="the backup is of tenant 'lost'"):
            await restore_stack(folder, replace(settings, tenant="other"), recover=True)

        for process in platform.processes.values():
            process.signal(signal.SIGSTOP)
        await drop(settings)
        await cut_off(folder, settings)
        with pytest.raises(RestoreOrderError, match="say --recover, as it did"):
            await restore_stack(folder, settings, recover=False)
        restored = await command(platform, "restore", str(folder), "--stack", "--recover", "--json")
        for process in platform.processes.values():
            process.signal(signal.SIGCONT)
        assert restored == {
            "keyspace": settings.keyspace,
            "records": 18,
            "streams": 3,
            "commands": 18,
            "recovered": 3,
            "unfit": 0,
        }

        await served_again(client, ACCOUNTS[-1], tokens[ACCOUNTS[-1]])
        for account in ACCOUNTS:
            assert await balance(client, account, tokens[account]) == 21
            for number in (5, 6):
                again = (await client.execute(deposit(account, number))).result
                assert (again.replayed, again.last_version) == (True, number + 1)
            new = (await client.execute(deposit(account, 7))).result
            assert (new.replayed, new.last_version) == (False, 8)
            assert await balance(client, account, new.token) == 28
        *_, verified = [one async for one in client.read(VerifyRequest())]
        assert (verified.streams, list(verified.breaks)) == (3, [])
    await drop(settings)
