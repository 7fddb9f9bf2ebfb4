"""Gives any project's tests a platform; promise: `eventspine` as a parameter, and no more to do.

    async def test_an_account_is_opened(eventspine):
        await eventspine.client.execute(OpenAccountRequest(account_id="ann", owner="Ann"))

pytest finds this by the entry point `pytest11` of the package. Each test gets an empty platform of
its own, in memory. It runs on a thread of its own, so that tests may wait in any way: with asyncio
under any plugin, or without it, over a plain gRPC channel to `eventspine.address`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

# What a test run that asks for no platform should not wait for is imported where it is needed.
if TYPE_CHECKING:
    from eventspine.client.client import Client
    from eventspine.domain.domain import Domain


class RunningPlatform:
    """A platform for one test.

    Attributes:
        address: Where it listens, `host:port`.
    """

    def __init__(self, address: str) -> None:
        """Takes the address of a platform that runs."""
        self.address = address
        self._clients: dict[asyncio.AbstractEventLoop, Client] = {}

    @property
    def client(self) -> Client:
        """The test's own client; the same each time within one event loop.

        Raises:
            RuntimeError: The test is no coroutine. Open a channel to `address` instead.
        """
        from eventspine.client.client import Client

        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = Client.connect(self.address)
        return self._clients[loop]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the ini option that says which domains to host."""
    parser.addini(
        "eventspine_domains",
        "Domains that the platform of the fixture `eventspine` hosts, each module:ATTRIBUTE, one a "
        "line; by default those that ship with eventspine.",
        type="linelist",
    )


@pytest.fixture
def eventspine_domains(pytestconfig: pytest.Config) -> Sequence[Domain]:
    """The domains to host: those of the ini option. Override it to host others in some tests."""
    from eventspine.process.domains import SHIPPED, DomainNotFoundError, find_domains

    try:
        return find_domains(pytestconfig.getini("eventspine_domains") or SHIPPED)
    except DomainNotFoundError as error:
        pytest.fail(f"the ini option eventspine_domains: {error}", pytrace=False)


@pytest.fixture
def eventspine(eventspine_domains: Sequence[Domain]) -> Iterator[RunningPlatform]:
    """A running platform without any events, which ends with the test."""
    from devstack.embedded import Embedded

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="eventspine")
    thread.start()
    try:
        platform = Embedded(eventspine_domains)
        asyncio.run_coroutine_threadsafe(platform.__aenter__(), loop).result()
        try:
            yield RunningPlatform(platform.address)
        finally:
            asyncio.run_coroutine_threadsafe(platform.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
