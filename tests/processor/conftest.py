"""What the processor's suites share: a platform without services, on every backend."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from eventspine.storage.connect import Backend, open_memory, open_sqlite
from tests.processor.platform import Platform

Making = Callable[..., Awaitable[Platform]]


@pytest.fixture(params=["memory", "sqlite"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """An open backend of each kind."""
    opened = open_memory() if request.param == "memory" else await open_sqlite(tmp_path / "s.db")
    yield opened
    await opened.close()


@pytest.fixture
async def platform(backend: Backend) -> AsyncIterator[Platform]:
    """A running platform with the views of `tests/processor/views.py`."""
    running = Platform(backend)
    await running.start()
    yield running
    await running.stop()
