"""Journeys run against a whole platform over real gRPC, once on each backend."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from devstack.embedded import Embedded
from domains.bank.domain import BANK
from domains.flights.domain import FLIGHTS
from tests.journey.user import User

BACKENDS = ("memory", "sqlite")


@pytest.fixture(params=BACKENDS)
async def platform(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Embedded]:
    """A running embedded platform with both domains."""
    db = tmp_path / "events.db" if request.param == "sqlite" else None
    async with Embedded([BANK, FLIGHTS], db=db) as running:
        yield running


@pytest.fixture
async def channel(platform: Embedded) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the platform."""
    async with grpc.aio.insecure_channel(platform.address) as opened:
        yield opened


@pytest.fixture
def user(channel: grpc.aio.Channel) -> User:
    """Somebody with the generated stubs."""
    return User(channel)
