"""Journeys run against a whole platform over real gRPC, once on each kind of platform.

`memory` and `sqlite` are the embedded platform, `envoy` is that behind both tiers. `stack` is the
real one: two of each service as processes, on real Cassandra and Kafka, behind both tiers; see
`tests/stack/platform.py`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

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


class Servers(NamedTuple):
    """Real servers, and what starts service processes over them."""

    forking: Any
    ground: Any


Running = AbstractAsyncContextManager[Platform]
Around = Front | Servers | None
"""What is there already when a platform of a kind is started."""


def in_memory(folder: Path, around: Around) -> Running:
    return Embedded(DOMAINS)


def in_a_file(folder: Path, around: Around) -> Running:
    return Embedded(DOMAINS, db=folder / "events.db")


@asynccontextmanager
async def behind_envoy(folder: Path, around: Around) -> AsyncIterator[Platform]:
    assert isinstance(around, Front)
    async with Embedded(DOMAINS, db=folder / "events.db", address=around.behind):
        yield around


def on_the_stack(folder: Path, around: Around) -> Running:
    # Its imports are those of the drivers, which the embedded platform does without.
    from tests.stack.platform import StackPlatform

    assert isinstance(around, Servers)
    return StackPlatform(around.forking, around.ground, folder)


BACKENDS = ("memory", "sqlite")
"""What a test that starts its own embedded platforms runs on."""

PLATFORMS: dict[str, Callable[[Path, Around], Running]] = {
    "memory": in_memory,
    "sqlite": in_a_file,
    "envoy": behind_envoy,
    "stack": on_the_stack,
}
"""How to start each kind of platform, in a folder of the test's own."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tiers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    """Both tiers of Envoy, started once: platforms behind them come and go."""
    behind = free_address()
    async with fronted(tmp_path_factory.mktemp("edge"), behind) as edge:
        yield Front(edge, behind)


@pytest.fixture
def around(request: pytest.FixtureRequest) -> Around:
    """What the test's kind of platform wants to be there."""
    kind = request.node.callspec.params["platform"]
    if kind == "stack":
        return Servers(*map(request.getfixturevalue, Servers._fields))
    return request.getfixturevalue("tiers") if kind == "envoy" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks journeys by the platform that they run on, before `-m` chooses."""
    for item in items:
        spec = getattr(item, "callspec", None)
        if spec is not None and spec.params.get("platform") == "stack":
            item.add_marker(pytest.mark.stack)
        if spec is not None and spec.params.get("platform") == "envoy":
            item.add_marker(pytest.mark.envoy)
            if item.path.stem not in QUICK_BEHIND_ENVOY:
                item.add_marker(pytest.mark.thorough)


@pytest.fixture(params=PLATFORMS)
async def platform(
    request: pytest.FixtureRequest, tmp_path: Path, around: Around
) -> AsyncIterator[Platform]:
    """A running platform with both domains, of each kind in turn."""
    async with PLATFORMS[request.param](tmp_path, around) as running:
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
