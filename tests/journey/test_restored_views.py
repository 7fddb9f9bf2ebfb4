"""A restore builds the views that can be built, whatever the empty store went through before."""

import asyncio
from pathlib import Path

from devstack.backup.restore import restore_backup
from devstack.embedded import Embedded
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from eventspine.rpc.context import CallContext
from eventspine.v1 import admin_pb2 as pb
from tests.journey.test_backup import backed_up, opening

CALL = CallContext(lambda: None, lambda: False)
BALANCE = "bank.v1.AccountBalance"


async def rebuilt(platform: Embedded) -> None:
    """Leaves a view with a build of another number than the first, and one that is paused."""
    admin = platform.parts.admin
    number = (await admin.build_view(pb.BuildViewRequest(view=BALANCE), CALL)).build.build
    async with asyncio.timeout(10):
        state = pb.BUILD_STATE_BUILDING
        while state != pb.BUILD_STATE_READY:
            await asyncio.sleep(0.01)
            (view,) = (await admin.list_views(pb.ListViewsRequest(view=BALANCE), CALL)).views
            state = view.builds[-1].state
    await admin.switch_view(pb.SwitchViewRequest(view=BALANCE, build=number), CALL)
    await admin.retire_view(pb.RetireViewRequest(view=BALANCE, build=1), CALL)
    await admin.pause_view(pb.PauseViewRequest(view="bank.v1.BankTotals"), CALL)


async def test_a_restore_ends_though_some_builds_of_the_empty_store_do_not_move(
    tmp_path: Path,
) -> None:
    async with Embedded([BANK]) as platform:
        await platform.parts.command.execute([opening("alice")])
        await backed_up(platform, tmp_path / "backup")
    db = tmp_path / "new.db"
    async with Embedded([BANK, FLIGHTS], db=db) as platform:
        await rebuilt(platform)
    async with asyncio.timeout(30):
        restored = await restore_backup(tmp_path / "backup", db, [BANK])
    assert (restored.records, restored.views) == (1, 2)
