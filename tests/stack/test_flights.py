"""The flights of January through the real stack; every total is that of the data file."""

import asyncio
import sys

import pytest

from tests.stack.forking import ROOT
from tests.stack.platform import StackPlatform

DAYS = 31


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_the_totals_of_january_are_those_of_the_file(platform: StackPlatform) -> None:
    argv = ("-m", "devstack.tour", "--days", str(DAYS), "--address", platform.address)
    tour = await asyncio.create_subprocess_exec(
        sys.executable,
        *argv,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await tour.communicate()
    printed = told.decode()
    assert tour.returncode == 0, printed
    assert "27,004 flights from 2013-01-01 to 2013-01-31" in printed
    assert "equal the totals counted straight from the CSV" in printed
