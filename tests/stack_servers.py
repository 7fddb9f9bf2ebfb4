"""Real Cassandra for tests: `EVENTSPINE_TEST_CASSANDRA` (`host:port`) names the server."""

import os

import pytest

FIXTURES = {"cassandra", "kafka"}


@pytest.fixture(scope="session")
def cassandra() -> str:
    """Where a Cassandra node listens, `host:port`."""
    running = os.environ.get("EVENTSPINE_TEST_CASSANDRA")
    if not running:
        pytest.skip("the stack cannot be started here: EVENTSPINE_TEST_CASSANDRA is not set")
    return running


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what takes a server, before `-m` chooses."""
    for item in items:
        if FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.stack)
