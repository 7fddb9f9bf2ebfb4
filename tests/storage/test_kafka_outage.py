"""Kafka that stands still, dies and comes back: nothing is lost by who publishes, nor by groups.

The broker is this file's own, and it asks users for a password on a second listener.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from uuid import uuid4

import pytest

from devstack.stack.ports import free_port
from devstack.stack.servers import Servers
from eventspine.storage.connect import open_memory
from eventspine.storage.errors import BusSetupError, BusUnavailableError
from eventspine.storage.kafka.bus import KafkaBus
from eventspine.storage.kafka.settings import KafkaSettings
from eventspine.storage.ports import BusMessage
from eventspine.storage.records import LogEntry, ProgressChange
from tests.command.bank_service import deposit, opening, running
from tests.stack_servers import started
from tests.storage.bus_suite import entries, entry, taken

pytestmark = [pytest.mark.stack, pytest.mark.slow]

DOWN_SECONDS = 12
"""How long the broker is away: several times as long as a publication may take."""

PUBLISH_SECONDS = 3.0
BACK_SECONDS = 120.0
LISTENER = """\
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},USERS://127.0.0.1:{users}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},USERS://127.0.0.1:{users}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,USERS:SASL_PLAINTEXT
listener.name.users.sasl.enabled.mechanisms=PLAIN
listener.name.users.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="right";
"""


class Broker:
    """A broker that a test may stop, and its two listeners."""

    def __init__(self, servers: Servers, users: str) -> None:
        self.child = servers.children["kafka-1"]
        self.bootstrap = servers.bootstrap
        self.users = users

    async def kill(self) -> None:
        await self.child.kill()

    async def restart(self) -> None:
        await self.child.restart()


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with started(nodes=0, brokers=1) as servers:
        (_, plain), (_, controller) = servers.children["kafka-1"].spec.addresses
        users = free_port(["127.0.0.1"], besides={plain, controller})
        path = servers.home.room("kafka-1") / "server.properties"
        listeners = LISTENER.format(plain=plain, controller=controller, users=users)
        kept = [
            line
            for line in path.read_text().splitlines()
            if line.partition("=")[0]
            not in ("listeners", "advertised.listeners", "listener.security.protocol.map")
        ]
        path.write_text("\n".join([*kept, listeners]))
        found = Broker(servers, f"127.0.0.1:{users}")
        with asyncio.Runner() as runner:
            runner.run(found.restart())
        yield found


@pytest.fixture
def settings(broker: Broker) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=broker.bootstrap,
        prefix=f"outage-{uuid4().hex[:12]}",
        partitions=2,
        publish_timeout_seconds=PUBLISH_SECONDS,
        start_timeout_seconds=BACK_SECONDS,
    )


@pytest.fixture
async def bus(settings: KafkaSettings) -> AsyncIterator[KafkaBus]:
    opened = await KafkaBus.open(settings)
    yield opened
    await opened.close()


async def test_a_broker_that_stands_still_fails_publications_in_time_and_takes_them_afterwards(
    bus: KafkaBus, broker: Broker
) -> None:
    async with aclosing(bus.tail("log")) as tail:
        await published(bus, "log", entries(1, 1))
        assert await taken(tail, 1) == entries(1, 1)
        await broker.child.pause()
        try:
            before = time.monotonic()
            with pytest.raises(BusUnavailableError, match="Kafka did not take all of 2 messages"):
                await bus.publish("log", 0, entries(2, 3))
            assert time.monotonic() - before < 10 * PUBLISH_SECONDS
        finally:
            broker.child.resume()
        await published(bus, "log", entries(4, 5))
        got: list[LogEntry] = []
        async with asyncio.timeout(BACK_SECONDS):
            while entry(5) not in got:
                got += [one for one in await anext(tail) if isinstance(one, LogEntry)]
        assert [one for one in got if one.sequence > 3] == entries(4, 5)


async def test_commands_are_answered_while_the_broker_is_down_and_all_arrives_when_it_is_back(
    bus: KafkaBus, broker: Broker
) -> None:
    backend = replace(open_memory(partitions=2), bus=bus)
    names = [f"a{number}" for number in range(8)]
    async with (
        aclosing(bus.consume("events", "sequencer")) as reader,
        running(backend) as bank,
    ):
        await bank.execute([opening(name) for name in names])
        got = await taken(reader, len(names))
        await broker.kill()
        down = time.monotonic()
        rounds = 0
        while time.monotonic() - down < DOWN_SECONDS:
            asked = time.monotonic()
            await bank.execute([deposit(name) for name in names])
            assert time.monotonic() - asked < PUBLISH_SECONDS
            rounds += 1
            await asyncio.sleep(0.2)
        await broker.restart()
        wanted = {(f"account/{name}", v) for name in names for v in range(1, rounds + 2)}
        async with asyncio.timeout(BACK_SECONDS):
            while {one[2:4] for one in got if isinstance(one, LogEntry)} != wanted:
                got += await anext(reader)
        assert bank.service.left_out == 0
        for name in names:
            versions = [one[3] for one in got if one[2] == f"account/{name}"]
            first = list(dict.fromkeys(versions))
            assert first == sorted(first)


async def test_a_group_and_a_share_go_on_after_the_broker_was_killed(
    bus: KafkaBus, broker: Broker
) -> None:
    async with (
        aclosing(bus.consume("events", "sequencer")) as reader,
        aclosing(bus.shares("projector")) as shares,
        aclosing(bus.tail("changes")) as tail,
    ):
        await published(bus, "events", entries(1, 3))
        assert await taken(reader, 3) == entries(1, 3)
        assert await asyncio.wait_for(anext(shares), BACK_SECONDS) == {0, 1}
        await broker.kill()
        waiting = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(2)
        await broker.restart()
        await published(bus, "events", entries(4, 6))
        got = [one[1] for one in await asyncio.wait_for(waiting, BACK_SECONDS)]
        async with asyncio.timeout(BACK_SECONDS):
            while 6 not in got:
                got += [one[1] for one in await anext(reader)]
        assert [*dict.fromkeys(one for one in got if one > 3)] == [4, 5, 6]
        change = ProgressChange("r@1", 0, 1)
        await published(bus, "changes", [change])
        async with asyncio.timeout(BACK_SECONDS):
            while change not in await anext(tail):
                pass


async def test_a_wrong_password_stops_the_start_and_the_right_one_does_not(
    settings: KafkaSettings, broker: Broker
) -> None:
    def as_user(password: str) -> KafkaSettings:
        client = {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "alice",
            "sasl.password": password,
        }
        return replace(settings, bootstrap_servers=broker.users, client=client)

    with pytest.raises(BusSetupError, match="it refuses the credentials") as refused:
        await KafkaBus.open(replace(as_user("wrong"), start_timeout_seconds=5.0))
    assert "wrong" not in str(refused.value)
    bus = await KafkaBus.open(as_user("right"))
    async with aclosing(bus.tail("log")) as tail:
        await published(bus, "log", entries(1, 1))
        assert await taken(tail, 1) == entries(1, 1)
    await bus.close()


async def published(bus: KafkaBus, channel: str, messages: Sequence[BusMessage]) -> None:
    """Publishes as soon as the broker takes it."""
    async with asyncio.timeout(BACK_SECONDS):
        while True:
            try:
                return await bus.publish(channel, 0, messages)
            except BusUnavailableError:
                await asyncio.sleep(0.1)
