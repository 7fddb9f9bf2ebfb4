"""What the suites of the command service share: a service on each backend."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventspine.storage.connect import Backend, open_memory, open_sqlite
from tests.command.bank_service import BankService, running


@pytest.fixture(params=["memory", "sqlite"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """An open, empty backend."""
    opened = open_memory() if request.param == "memory" else await open_sqlite(tmp_path / "e.db")
    yield opened
    await opened.close()


@pytest.fixture
async def bank(backend: Backend) -> AsyncIterator[BankService]:
    """A running command service of the bank."""
    async with running(backend) as service:
        yield service
