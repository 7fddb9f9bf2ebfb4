"""Journeys run against a whole platform over real gRPC, once on each kind of it.

`memory` and `sqlite` are the embedded platform. `stack` is the real one: two of each service as
processes, on real Cassandra and Kafka, behind Envoy; see `tests/stack/platform.py`.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import grpc
import pytest

from devstack.embedded import Embedded
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from tests.journey.user import User
from tests.stack.forking import Forking

BACKENDS = ("memory", "sqlite")
"""What the embedded platform may stand on."""

PLATFORMS = (*BACKENDS, pytest.param("stack", marks=pytest.mark.stack))


class Platform(Protocol):
    """A running platform, whatever it is made of."""

    @property
    def address(self) -> str:
        """Where all of it is answered."""
        ...


Starting = Callable[[Path], AbstractAsyncContextManager[Platform]]


@pytest.fixture(params=PLATFORMS)
def starting(request: pytest.FixtureRequest) -> Starting:
    """How a platform is started in a folder. What it stands on is there already."""
    if request.param == "stack":
        # Its imports are those of the drivers, which the embedded platform does without.
        from tests.stack.platform import StackPlatform

        forking, ground = (request.getfixturevalue(name) for name in ("forking", "ground"))
        return lambda folder: StackPlatform(forking, ground, folder)
    file = "events.db" if request.param == "sqlite" else None
    return lambda folder: Embedded([BANK, FLIGHTS], db=folder / file if file else None)


@pytest.fixture
async def platform(starting: Starting, tmp_path: Path) -> AsyncIterator[Platform]:
    """A running platform with both domains and an empty store."""
    async with starting(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    """What starts service processes quickly."""
    forking = Forking()
    yield forking
    forking.close()


@pytest.fixture(scope="session")
def ground(cassandra: str, kafka: str) -> Iterator[Any]:
    """The servers of this run, and a keyspace for its platforms."""
    from tests.stack.platform import Ground

    ground = Ground(cassandra, kafka)
    yield ground
    ground.close()


@pytest.fixture
async def channel(platform: Platform) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the platform."""
    async with grpc.aio.insecure_channel(platform.address) as opened:
        yield opened


@pytest.fixture
def user(channel: grpc.aio.Channel) -> User:
    """Somebody with the generated stubs."""
    return User(channel)
