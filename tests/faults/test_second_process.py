"""A second process on one file: it says who has the file, and the first one never notices."""

import asyncio
from pathlib import Path

import pytest

from bank.v1 import account_pb2 as pb
from devstack.cli.failure import EXIT_UNREACHABLE
from eventspine.client.client import Client
from tests.faults.process import ROOT, command, running


@pytest.mark.parametrize("by_another_name", [False, True], ids=["same name", "symbolic link"])
async def test_a_second_process_on_the_same_file_ends_and_names_the_first(
    tmp_path: Path, by_another_name: bool
) -> None:
    db = tmp_path / "store.db"
    async with running(db) as first, Client.connect(first.address) as client:
        await client.execute(pb.OpenAccountRequest(account_id="a", owner="Ann"))
        name = db
        if by_another_name:
            name = tmp_path / "other.db"
            name.symlink_to(db)
        second = await asyncio.create_subprocess_exec(
            *command(name),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        async with asyncio.timeout(30):
            printed, complaints = await second.communicate()
        assert second.returncode == EXIT_UNREACHABLE
        assert printed == b""
        told = complaints.decode()
        assert f"{db.resolve()} is owned by process {first.pid}" in told
        assert "stop it, or use another file" in told
        assert len(told.splitlines()) == 1
        deposit = pb.DepositRequest(account_id="a", amount_cents=1)
        assert (await client.execute(deposit)).result.last_version == 2
        assert await first.stop() == (0, "")


async def test_the_file_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    db = tmp_path / "store.db"
    for version in (1, 2):
        async with running(db) as platform, Client.connect(platform.address) as client:
            opening = pb.OpenAccountRequest(account_id=f"a{version}", owner="Ann")
            assert (await client.execute(opening)).result.last_version == 1
            await platform.kill()
