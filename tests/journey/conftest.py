"""Journeys run against a whole platform over real gRPC, once on each kind of it.

`memory` and `sqlite` are the embedded platform. `stack` is the real one: two of each service as
processes, on real Cassandra and Kafka, behind Envoy; see `tests/stack/platform.py`.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import grpc
import pytest

from devstack.embedded import Embedded
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from tests.journey.user import User
from tests.stack.forking import Forking

PLATFORMS = ("memory", "sqlite", pytest.param("stack", marks=pytest.mark.stack))


class Platform(Protocol):
    """A running platform, whatever it is made of."""

    @property
    def address(self) -> str:
        """Where all of it is answered."""
        ...


@pytest.fixture(params=PLATFORMS)
async def platform(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Platform]:
    """A running platform with both domains and an empty store."""
    if request.param == "stack":
        async with stack_platform(request, tmp_path) as running:
            yield running
        return
    db = tmp_path / "events.db" if request.param == "sqlite" else None
    async with Embedded([BANK, FLIGHTS], db=db) as embedded:
        yield embedded


@asynccontextmanager
async def stack_platform(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Platform]:
    """Starts the services over the servers of this run of tests."""
    # Its imports are those of the drivers, which the embedded platform does without.
    from tests.stack.platform import StackPlatform

    servers = {name: request.getfixturevalue(name) for name in ("cassandra", "kafka")}
    async with StackPlatform(request.getfixturevalue("forking"), folder, **servers) as running:
        yield running


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    """What starts service processes quickly."""
    forking = Forking()
    yield forking
    forking.close()


@pytest.fixture
async def channel(platform: Platform) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the platform."""
    async with grpc.aio.insecure_channel(platform.address) as opened:
        yield opened


@pytest.fixture
def user(channel: grpc.aio.Channel) -> User:
    """Somebody with the generated stubs."""
    return User(channel)
