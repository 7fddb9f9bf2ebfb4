"""What the contract suites share: a host of methods made for one test, and a channel to it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
import pytest_asyncio
from grpc import aio

from eventspine.rpc.host import Host
from eventspine.rpc.method import Method
from tests.contract.calling import Caller
from tests.contract.queried import Known, asking

Hosting = Callable[[Sequence[Method]], Awaitable[aio.Channel]]


@pytest.fixture
async def hosting() -> AsyncIterator[Hosting]:
    """Returns a function that hosts methods on a free port and gives a channel to them."""
    hosts: list[Host] = []
    channels: list[aio.Channel] = []

    async def start(methods: Sequence[Method]) -> aio.Channel:
        host = Host(methods)
        hosts.append(host)
        channels.append(aio.insecure_channel(await host.start()))
        return channels[-1]

    yield start
    for channel in channels:
        await channel.close()
    for host in hosts:
        await host.stop(0)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Returns a function that waits until a condition holds, 5 s at most."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - any condition; no event tells of it
                await asyncio.sleep(0.002)

    return wait


@pytest.fixture(autouse=True)
def quiet_transport(caplog: pytest.LogCaptureFixture) -> None:
    """Keeps log records of all levels for a test to look at."""
    caplog.set_level(logging.INFO)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "sqlite"])
async def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Caller, Known]]:
    """A platform with accounts `a` to `e`, and what it and another one have given out."""
    folder = tmp_path_factory.mktemp("stores") if request.param == "sqlite" else None
    async with asking(folder) as caller_and_known:
        yield caller_and_known
