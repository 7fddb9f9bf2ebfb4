"""One platform behind both tiers for all suites of the edge; each test uses accounts of its own."""

import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest
import pytest_asyncio
from grpc import aio

from devstack.edge.tiers import Edge
from tests.edge.fronted import fronted, needs_envoy
from tests.journey.command_line import Dev
from tests.journey.user import User

_COUNT = itertools.count(1)


class Behind(NamedTuple):
    """Where a platform is: behind both tiers, and itself."""

    address: str
    direct: str
    edge: Edge


@pytest.fixture(scope="session")
def dev() -> Iterator[Dev]:
    """A platform in a process of its own, in memory."""
    needs_envoy()
    running = Dev()
    yield running
    running.stop(signal.SIGTERM)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def behind(dev: Dev, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    """Both tiers in front of that platform."""
    async with fronted(tmp_path_factory.mktemp("edge"), dev.address) as edge:
        yield Behind(edge.address, dev.address, edge)


@pytest.fixture
def address(behind: Behind) -> str:
    """The one address."""
    return behind.address


@pytest.fixture
async def user(address: str) -> AsyncIterator[User]:
    """Somebody who calls through both tiers by the generated stubs."""
    async with aio.insecure_channel(address) as channel:
        yield User(channel)


@pytest.fixture
def account() -> str:
    """The id of an account that nobody else uses."""
    return f"edge-{next(_COUNT)}"
