"""Real Cassandra and Kafka for tests, one of each for a whole run, started by the first that asks.

A test that takes the fixture `cassandra`, `kafka` or `launchable` has the marker `stack` by itself,
and time for servers to start. All tests of a run share the servers, so each makes a keyspace and
topics of its own. `EVENTSPINE_TEST_CASSANDRA` and `EVENTSPINE_TEST_KAFKA` (`host:port`) name those
that run already. Where there is no Java 17, or nothing to fetch the servers with, these tests are
skipped, with the reason, and counted at the end.

The node acknowledges before its disk has a write (`commitlog_sync: periodic`) and compiles little:
that is faster here, and what these tests prove does not rest on it.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devstack.stack.cassandra import RELEASE as CASSANDRA
from devstack.stack.cassandra import CommitLogSync
from devstack.stack.errors import JarsNotFoundError, JavaNotFoundError
from devstack.stack.jars import fetched
from devstack.stack.java import find_java
from devstack.stack.kafka import RELEASE as KAFKA
from devstack.stack.servers import Servers

FIXTURES = {"cassandra", "kafka", "launchable"}
TIMEOUT_SECONDS = 600
MISSING = "the stack cannot be started here: "


@pytest.fixture(scope="session")
def launchable() -> None:
    """For a test that starts servers of its own: skips it where none can be started."""
    try:
        find_java()
        for release in (CASSANDRA, KAFKA):
            fetched(release)
    except (JavaNotFoundError, JarsNotFoundError) as error:
        pytest.skip(f"{MISSING}{error}")


@pytest.fixture(scope="session")
def cassandra() -> Iterator[str]:
    """Where a Cassandra node listens, `host:port`."""
    if running := os.environ.get("EVENTSPINE_TEST_CASSANDRA"):
        yield running
        return
    with started(nodes=1, brokers=0) as servers:
        yield servers.contact_points[0]


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Where a Kafka broker listens, `host:port`."""
    if running := os.environ.get("EVENTSPINE_TEST_KAFKA"):
        yield running
        return
    with started(nodes=0, brokers=1) as servers:
        yield servers.bootstrap


@contextmanager
def started(
    *, nodes: int, brokers: int, sync: CommitLogSync = CommitLogSync.PERIODIC
) -> Iterator[Servers]:
    """Runs servers for fixtures; skips the test where none can be started."""
    servers = Servers(nodes=nodes, brokers=brokers, sync=sync, quick=True)
    with asyncio.Runner() as runner:
        try:
            runner.run(servers.start())
        except (JavaNotFoundError, JarsNotFoundError) as error:
            pytest.skip(f"{MISSING}{error}")
    yield servers
    with asyncio.Runner() as runner:
        runner.run(servers.stop())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what takes a server, before `-m` chooses."""
    for item in items:
        if FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.stack)
        if item.get_closest_marker("stack") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Counts what was skipped for want of servers."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if MISSING in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests of the stack were skipped")
