"""The flights of January through the real stack; every total is that of the data file."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stack.forking import ROOT, Forking
from tests.stack.platform import Ground, StackPlatform

DAYS = 31


@pytest.fixture
async def platform(
    forking: Forking, ground: Ground, tmp_path: Path
) -> AsyncIterator[StackPlatform]:
    async with StackPlatform(forking, ground, tmp_path) as running:
        yield running


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
