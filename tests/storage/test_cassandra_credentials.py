"""A node that asks for credentials and speaks TLS: what opens a store, and what says the cure."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack.stack.servers import Servers
from eventspine.storage.cassandra.events import CassandraEventStore
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.errors import StackSetupError
from eventspine.storage.records import Stored
from eventspine.storage.stack import Credentials, StackSettings, Tls
from tests.process.certificates import Authority
from tests.stack_servers import started
from tests.storage.appends import append_of, records_of
from tests.storage.cassandra_keyspace import settings_for

ASKING = """
authenticator:
  class_name: PasswordAuthenticator
client_encryption_options:
  enabled: true
  optional: true
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: {keys}
"""
ROLE = "cassandra"
"""The first role of a cluster, and its password. Source: Cassandra, `CassandraRoleManager`."""

SECONDS = 60


async def _ask(servers: Servers, keys: Path) -> None:
    """Starts the node again, with the need for credentials and a certificate of its own."""
    node = servers.children["cassandra-1"]
    with (node.spec.folder / "cassandra.yaml").open("a") as configuration:
        configuration.write(ASKING.format(keys=keys))
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
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture(scope="module")
def asking(launchable: None, authority: Authority, tmp_path_factory: Any) -> Iterator[str]:
    keys = tmp_path_factory.mktemp("node") / "keys.pem"
    keys.write_text("".join(path.read_text() for path in authority.signed("node")))
    with started(nodes=1, brokers=0) as servers:
        with asyncio.Runner() as runner:
            runner.run(_ask(servers, keys))
        yield servers.contact_points[0]


def as_role(server: str, name: str, password: str, **changes: Any) -> StackSettings:
    own = Credentials(username=name, password=password)
    return replace(settings_for(server), cassandra_credentials=own, **changes)


async def opened(settings: StackSettings) -> CassandraStore:
    """Opens a store, as soon as the role is there: a little after the node answers."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await CassandraStore.open(settings)
            except StackSetupError:
                await asyncio.sleep(0.5)


async def test_the_right_credentials_open_a_store(asking: str) -> None:
    store = await opened(as_role(asking, ROLE, ROLE))
    await store.close()


async def test_events_of_any_size_pass_by_tls(asking: str, authority: Authority) -> None:
    tls = Tls(ca_file=authority.certificate)
    store = await opened(as_role(asking, ROLE, ROLE, cassandra_tls=tls))
    try:
        events = CassandraEventStore(store)
        appends = [append_of(f"account/{number}", 0, "c") for number in range(8)]
        for size, append in zip((1, 4_096, 16_385, 100_000) * 2, appends, strict=True):
            (record,), chain = records_of(append.stream, 0, 1)
            big = record._replace(encoded=os.urandom(size))
            changed = append._replace(records=(big,), chain=chain)
            assert await events.append([changed]) == [Stored(None)]
            (read,) = await events.read(append.stream)
            assert read.encoded == big.encoded
    finally:
        await store.close()


async def test_a_node_whose_certificate_nobody_vouches_for_stops_the_start(
    asking: str, tmp_path: Path
) -> None:
    tls = Tls(ca_file=Authority(tmp_path, "another").certificate)
    settings = as_role(asking, ROLE, ROLE, cassandra_tls=tls, connect_timeout_seconds=5)
    with pytest.raises(StackSetupError, match=r"cannot be reached at .*certificate verify failed"):
        await CassandraStore.open(settings)


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
