"""Journeys run against a whole platform over real gRPC, once on each kind of platform."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import grpc
import pytest
import pytest_asyncio

from devstack.edge.tiers import Edge
from devstack.embedded import Embedded
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from tests.edge.fronted import free_address, fronted
from tests.journey.user import User

DOMAINS = [BANK, FLIGHTS]


QUICK_BEHIND_ENVOY = {"test_commands", "test_append", "test_freshness", "test_subscribe"}
"""The journeys that also run behind Envoy each time; all others do in `make test-stack`."""


class Platform(Protocol):
    """A running platform, of whichever kind.

    Attributes:
        address: Where clients call it, `host:port`.
    """

    address: str


class Front(NamedTuple):
    """Both tiers of Envoy, in front of the address where a test is to start its platform."""

    edge: Edge
    behind: str

    @property
    def address(self) -> str:
        return self.edge.address


Running = AbstractAsyncContextManager[Platform]


def in_memory(folder: Path, front: Front | None) -> Running:
    return Embedded(DOMAINS)


def in_a_file(folder: Path, front: Front | None) -> Running:
    return Embedded(DOMAINS, db=folder / "events.db")


@asynccontextmanager
async def behind_envoy(folder: Path, front: Front | None) -> AsyncIterator[Platform]:
    assert front is not None
    async with Embedded(DOMAINS, db=folder / "events.db", address=front.behind):
        yield front


BACKENDS = ("memory", "sqlite")
"""What a test that starts its own embedded platforms runs on."""

PLATFORMS: dict[str, Callable[[Path, Front | None], Running]] = {
    "memory": in_memory,
    "sqlite": in_a_file,
    "envoy": behind_envoy,
}
"""How to start each kind of platform, in a folder of the test's own."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tiers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    """Both tiers of Envoy, started once: platforms behind them come and go."""
    behind = free_address()
    async with fronted(tmp_path_factory.mktemp("edge"), behind) as edge:
        yield Front(edge, behind)


@pytest.fixture
def front(request: pytest.FixtureRequest) -> Front | None:
    """Both tiers of Envoy, where the test is to run behind them."""
    kind = request.node.callspec.params["platform"]
    return request.getfixturevalue("tiers") if kind == "envoy" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks journeys by the platform that they run on, before `-m` chooses."""
    for item in items:
        spec = getattr(item, "callspec", None)
        if spec is not None and spec.params.get("platform") == "envoy":
            item.add_marker(pytest.mark.envoy)
            if item.path.stem not in QUICK_BEHIND_ENVOY:
                item.add_marker(pytest.mark.thorough)


@pytest.fixture(params=PLATFORMS)
async def platform(
    request: pytest.FixtureRequest, tmp_path: Path, front: Front | None
) -> AsyncIterator[Platform]:
    """A running platform with both domains, of each kind in turn."""
    async with PLATFORMS[request.param](tmp_path, front) as running:
        yield running


@pytest.fixture
async def channel(platform: Platform) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the platform."""
    async with grpc.aio.insecure_channel(platform.address) as opened:
        yield opened


@pytest.fixture
def user(channel: grpc.aio.Channel) -> User:
    """Somebody with the generated stubs."""
    return User(channel)
