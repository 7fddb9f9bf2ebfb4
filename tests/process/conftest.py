"""What tests of service processes share: children that end with their test."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.process.child import Child

Starting = Callable[..., Child]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starting]:
    """Returns a function that starts a service over a SQLite file of this test."""
    children: list[Child] = []
    numbers = count(1)

    def starting(
        service: str, *arguments: str, how: str = "ready", db: str = "events.db", **settings: str
    ) -> Child:
        argv = ["-m", "tests.process.service_on_sqlite", service, str(tmp_path / db), how]
        settings.setdefault("drain_seconds", "0")
        child = Child([*argv, *arguments], tmp_path / f"{service}-{next(numbers)}", settings)
        children.append(child)
        return child

    yield starting
    for child in children:
        child.close()
