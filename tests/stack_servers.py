"""Real servers for tests: where they are, or why a test is skipped."""

import os

import pytest


@pytest.fixture(scope="session")
def kafka() -> str:
    """The bootstrap servers of a Kafka."""
    servers = os.environ.get("EVENTSPINE_TEST_KAFKA", "")
    if not servers:
        pytest.skip("no Kafka: set EVENTSPINE_TEST_KAFKA=host:port")
    return servers
