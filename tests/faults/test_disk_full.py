"""A disk that is full: commands are told so and store nothing, reads go on, and with room all does.

The disk is a real one of 4 MiB, in a mount namespace of the platform's own process.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty

from bank.v1 import account_pb2 as pb
from bank.v1 import views_pb2
from eventspine.client.client import Client
from eventspine.client.errors import CallError
from eventspine.v1.admin_pb2 import VerifyRequest
from eventspine.v1.command_pb2 import CommandHeader
from eventspine.v1.query_pb2 import (
    STALE_POLICY_FAIL,
    GetStreamRequest,
    QueryHeader,
    ReadStreamRequest,
)
from eventspine.v1.subscription_pb2 import SubscribeRequest
from tests.faults.process import running

ON_A_SMALL_DISK = """
mount -t tmpfs -o size=4m none "$0" || exit 1
head -c 2097152 /dev/zero > "$0/ballast"
exec 3<&0
(read -r _ <&3 && rm "$0/ballast") &
exec "$@" 3<&-
"""
MOUNTABLE = (
    shutil.which("unshare") is not None
    and not subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    ).returncode
)


def deposit(number: int) -> pb.DepositRequest:
    header = CommandHeader(command_id=f"c{number}", metadata={"note": "x" * 10_000})
    return pb.DepositRequest(header=header, account_id="a", amount_cents=1)


async def filled(client: Client) -> tuple[int, CallError]:
    """Deposits until the platform refuses; returns the last number stored, and the error."""
    for number in range(1, 1_000):
        try:
            await client.execute(deposit(number), timeout_seconds=0.5)
        except CallError as error:
            return number - 1, error
    raise AssertionError("the disk was never full")


async def check_reads(client: Client, stored: int) -> None:
    """All that was acknowledged is read, and nothing more."""
    stream = await client.execute(GetStreamRequest(stream="account/a"))
    assert stream.last_version == stored + 1
    batches = [b async for b in client.read(ReadStreamRequest(stream="account/a"))]
    records = [record for batch in batches for record in batch.records]
    assert [record.command_id for record in records[1:]] == [f"c{n}" for n in range(1, stored + 1)]
    seen = 0
    async for batch in client.subscribe(SubscribeRequest(beginning=Empty())).batches():
        seen += len(batch.records)
        if seen >= stored + 1:
            break
    assert seen == stored + 1


def check_refusal(error: CallError) -> None:
    assert (error.code.name, error.reason) == ("UNAVAILABLE", "ERROR_REASON_STORE_UNAVAILABLE")
    assert error.metadata == {"cause": "disk full"}
    assert error.retry_seconds == 1.0
    assert "make room on the disk" in error.status.message


async def check_bulk_refusal(client: Client, number: int) -> None:
    verdicts: list[Any] = [v async for v in client.bulk([deposit(number), deposit(number + 1)])]
    failures = {v.command_id: v.failure for v in verdicts}
    assert sorted(failures) == [f"c{number}", f"c{number + 1}"]
    for failure in failures.values():
        assert failure.reason == "ERROR_REASON_STORE_UNAVAILABLE"
        assert failure.metadata["cause"] == "disk full"


@pytest.mark.skipif(not MOUNTABLE, reason="no disk can be mounted here: unshare is not permitted")
async def test_a_full_disk_is_told_and_with_room_everything_goes_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    prefix = ("unshare", "-rm", "sh", "-c", ON_A_SMALL_DISK, str(disk))
    async with (
        running(disk / "store.db", prefix=prefix) as platform,
        Client.connect(platform.address) as client,
    ):
        await client.execute(pb.OpenAccountRequest(account_id="a", owner="Ann"))
        stored, error = await filled(client)
        check_refusal(error)
        await check_reads(client, stored)
        with pytest.raises(CallError) as raised:
            await client.execute(deposit(stored + 2), timeout_seconds=0.5)
        check_refusal(raised.value)
        await check_reads(client, stored)
        await platform.tell("room")
        again = (await client.execute(deposit(stored + 1))).result
        assert (again.last_version, again.replayed) == (stored + 2, False)
        header = QueryHeader(token=again.token, stale_policy=STALE_POLICY_FAIL)
        balance = views_pb2.GetAccountBalanceRequest(header=header, account_id="a")
        assert (await client.execute(balance)).row.balance_cents == stored + 1
        await check_reads(client, stored + 1)
        verified = [v async for v in client.read(VerifyRequest()) if v.done]
        assert [list(v.breaks) for v in verified] == [[]]
        code, complaints = await platform.stop()
    assert code == 0
    assert "Traceback" not in complaints
