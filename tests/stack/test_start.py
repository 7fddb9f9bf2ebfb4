"""What is wrong outside of a service process ends its start with a sentence, and nothing else."""

import os
import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.process.child import Child
from tests.stack.platform import Ground

NOWHERE = "127.0.0.1:9"
_NAMES = count(1)

SKEWED = """
import runpy, sys, time
right, right_ns = time.time, time.time_ns
time.time = lambda: right() + {seconds}
time.time_ns = lambda: right_ns() + {seconds} * 10**9
runpy.run_module("query_svc", run_name="__main__")
"""


@pytest.fixture
def settings(cassandra: str, kafka: str) -> dict[str, str]:
    """Settings with which a service starts, on a keyspace that is not there yet."""
    return {
        "contact_points": cassandra,
        "bootstrap_servers": kafka,
        "keyspace": f"starts_{os.getpid()}_{next(_NAMES)}",
        "connect_timeout_seconds": "20",
    }


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Returns a function that starts a query service."""
    children: list[Child] = []

    def starting(settings: dict[str, str], *argv: str) -> Child:
        child = Child(argv or ("-m", "query_svc"), tmp_path / str(len(children)), settings)
        children.append(child)
        return child

    yield starting
    for child in children:
        child.close()


async def refused(child: Child) -> str:
    """Returns what a process says that does not start."""
    assert await child.ended() == 4, child.errors
    assert "Traceback" not in child.errors
    said = [line for line in child.errors.splitlines() if not line.startswith("{")]
    assert said
    assert all(line.startswith("query: ") for line in said)
    return "\n".join(said)


async def test_servers_that_nobody_can_reach(
    settings: dict[str, str], start: Callable[..., Child]
) -> None:
    began = time.monotonic()
    said = await refused(start({**settings, "contact_points": NOWHERE}))
    assert NOWHERE in said
    assert "contact_points" in said or "contact point" in said
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("seconds", "words"), [(3600, "3,6.. s ahead of"), (-3600, "3,[56].. s behind")]
)
async def test_a_clock_that_is_an_hour_off(
    ground: Ground,
    settings: dict[str, str],
    start: Callable[..., Child],
    seconds: int,
    words: str,
) -> None:
    used = {**settings, "keyspace": ground.keyspace, "partitions": "4"}
    said = await refused(start(used, "-c", SKEWED.format(seconds=seconds)))
    assert re.search(f"the clock of this process is {words} that of Cassandra", said), said
    assert "NTP" in said


async def test_a_keyspace_with_other_partitions_and_one_that_is_not_there(
    ground: Ground, settings: dict[str, str], start: Callable[..., Child]
) -> None:
    child = start({**settings, "create_schema": "false"})
    assert "eventspine schema" in await refused(child)
    used = {**settings, "keyspace": ground.keyspace}
    child = start({**used, "partitions": "4", "drain_seconds": "0"})
    await child.serving()
    child.ask_to_stop()
    assert await child.ended() == 0
    said = await refused(start({**used, "partitions": "5"}))
    assert "was made with partitions 4, and the settings say 5" in said


async def test_brokers_that_nobody_can_reach_and_topics_that_are_not_there(
    ground: Ground, settings: dict[str, str], start: Callable[..., Child]
) -> None:
    used = {**settings, "keyspace": ground.keyspace, "partitions": "4"}
    said = await refused(start({**used, "bootstrap_servers": NOWHERE}))
    assert NOWHERE in said
    said = await refused(start({**used, "topic_prefix": "nothing", "create_schema": "false"}))
    assert "nothing.events" in said
