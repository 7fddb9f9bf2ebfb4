"""What `eventspine audit` prints of a platform whose bus has lost something, and how it ends."""

import asyncio
import json
from dataclasses import replace

import pytest

from eventspine.rpc.host import Host
from eventspine.storage.connect import open_memory
from processor_svc.auditor import Auditor
from tests.faults.lossy_bus import LossyBus
from tests.journey.command_line import CommandLine
from tests.processor.platform import NOW_US, Platform
from tests.processor.test_audit import QUICK


async def test_audit_names_what_was_missing_and_ends_with_1_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bus = LossyBus()
    platform = Platform(replace(open_memory(), bus=bus))
    auditor = Auditor(platform.backend, now_us=lambda: NOW_US, settings=QUICK)
    host = Host([*platform.admin.methods(), *auditor.methods()])
    await platform.start()
    cli = CommandLine(await host.start(), capsys)
    try:
        await platform.deposit("a", 1)
        bus.losing = True
        await platform.deposit("a", 2, 3)
        bus.losing = False

        found = await asyncio.to_thread(cli.at, "audit")
        after = await asyncio.to_thread(cli.at, "audit", "--json")
    finally:
        await host.stop(0)
        await platform.stop()

    assert found.code == 1
    assert found.out.splitlines() == [
        "account/a@2-3: was not in the log",
        "all that was stored before 2023-11-14 22:13:20 UTC is in the log"
        " (streams: 1, chains recomputed: 1; missing: 2, sent again: 2)",
    ]
    assert after.code == 0
    assert json.loads(after.out)["complete"] is True
