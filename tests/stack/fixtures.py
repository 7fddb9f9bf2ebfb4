"""What tests on the stack share in a run: what forks services, and a keyspace of their own."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack.forking import Forking


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    """What starts service processes quickly."""
    forking = Forking()
    yield forking
    forking.close()


@pytest.fixture(scope="session")
def ground(cassandra: str, kafka: str) -> Iterator[Any]:
    """The servers of this run, and a keyspace for its platforms."""
    # Its imports are those of the drivers.
    from tests.stack.platform import Ground

    ground = Ground(cassandra, kafka)
    yield ground
    ground.close()
