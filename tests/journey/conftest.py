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


@pytest.fixture(
    params=[
        pytest.param(kind, marks=pytest.mark.envoy if kind == "envoy" else ()) for kind in PLATFORMS
    ]
)
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
