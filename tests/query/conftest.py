"""The query service on every backend, and on a log of several partitions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from eventspine.storage.connect import open_memory, open_sqlite
from query_svc.settings import QuerySettings
from tests.query.world import World

Make = Callable[..., Awaitable[World]]


@pytest.fixture(params=["memory", "memory in 3 partitions", "sqlite"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes started worlds with settings, and stops them."""
    worlds: list[World] = []

    async def made(**settings: float) -> World:
        partitions = 3 if request.param.endswith("partitions") else 1
        if request.param == "sqlite":
            backend = await open_sqlite(tmp_path / f"{len(worlds)}.db")
        else:
            backend = open_memory(partitions=partitions)
        world = World(backend, partitions, QuerySettings(**settings))
        await world.start()
        worlds.append(world)
        return world

    yield made
    for world in worlds:
        await world.stop()


@pytest.fixture
async def world(make: Make) -> World:
    """A started world with the usual settings."""
    return await make()
