"""A node that asks for credentials: the right ones open a store, wrong or no ones say the cure."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest

from devstack.stack.servers import Servers
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.errors import StackSetupError
from eventspine.storage.stack import Credentials, StackSettings
from tests.stack_servers import started
from tests.storage.cassandra_keyspace import settings_for

ASKING = """
authenticator:
  class_name: PasswordAuthenticator
"""
ROLE = "cassandra"
"""The first role of a cluster, and its password. Source: Cassandra, `CassandraRoleManager`."""

SECONDS = 60


async def _ask(servers: Servers) -> None:
    """Starts the node again, with the need for credentials."""
    node = servers.children["cassandra-1"]
    with (node.spec.folder / "cassandra.yaml").open("a") as configuration:
        configuration.write(ASKING)
    at_once = "-Dcassandra.superuser_setup_delay_ms=0"
    argv = (node.spec.argv[0], at_once, *node.spec.argv[1:])

    async def ready() -> bool:
        host, port = servers.nodes()[0].host, servers.nodes()[0].native_port
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return False
        writer.close()
        return True

    node.spec = replace(node.spec, argv=argv, ready=ready)
    await node.restart()


@pytest.fixture(scope="module")
def asking(launchable: None) -> Iterator[str]:
    with started(nodes=1, brokers=0) as servers:
        with asyncio.Runner() as runner:
            runner.run(_ask(servers))
        yield servers.contact_points[0]


def as_role(server: str, name: str, password: str) -> StackSettings:
    return replace(
        settings_for(server), cassandra_credentials=Credentials(username=name, password=password)
    )


async def test_the_right_credentials_open_a_store(asking: str) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                store = await CassandraStore.open(as_role(asking, ROLE, ROLE))
                break
            except StackSetupError:
                # The role is made a little after the node answers.
                await asyncio.sleep(0.5)
    await store.close()


@pytest.mark.parametrize(("name", "password"), [(ROLE, "s3cret-word"), ("nobody", "s3cret-word")])
async def test_wrong_credentials_stop_the_start_and_are_not_shown(
    asking: str, name: str, password: str
) -> None:
    with pytest.raises(StackSetupError, match="refuses the credentials; correct them") as refused:
        await CassandraStore.open(as_role(asking, name, password))
    assert asking in str(refused.value)
    assert password not in str(refused.value)


async def test_without_credentials_the_start_says_that_they_are_asked_for(asking: str) -> None:
    with pytest.raises(
        StackSetupError, match="asks for credentials; set cassandra_credentials_username"
    ):
        await CassandraStore.open(settings_for(asking))
