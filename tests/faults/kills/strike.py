"""The faults: each strikes, holds, and heals again; what follows shows whether all is well."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from confluent_kafka.admin import AdminClient

from tests.faults.kills.cluster import MODULES, Cluster

TOPICS_SECONDS = 60.0
PAUSE_SECONDS_MAX = 12.0
"""Longer than a consumer of the test's brokers may be silent, so that others take its partitions
over, and it comes back as a zombie."""

Strike = Callable[[Cluster, random.Random], Awaitable[str]]


class Fault(NamedTuple):
    """A kind of fault.

    Attributes:
        name: For people.
        weight: How often it is drawn, beside the others.
        strike: Strikes, heals, and tells whom it struck.
    """

    name: str
    weight: int
    strike: Strike


def _killed(module: str) -> Strike:
    async def strike(cluster: Cluster, chance: random.Random) -> str:
        name = f"{module}-{chance.choice((1, 2))}"
        await cluster.kill(name)
        await asyncio.sleep(chance.uniform(0, 2))
        await cluster.start(name)
        return name

    return strike


async def _both_processors(cluster: Cluster, chance: random.Random) -> str:
    names = [f"processor_svc-{number}" for number in (1, 2)]
    await asyncio.gather(*map(cluster.kill, names))
    await asyncio.sleep(chance.uniform(0, 3))
    await asyncio.gather(*map(cluster.start, names))
    return "both"


async def _paused(cluster: Cluster, chance: random.Random) -> str:
    name = f"{chance.choice(MODULES)}-{chance.choice((1, 2))}"
    cluster.process(name).signal(signal.SIGSTOP)
    await asyncio.sleep(chance.uniform(1, PAUSE_SECONDS_MAX))
    cluster.process(name).signal(signal.SIGCONT)
    return name


async def _restarted(cluster: Cluster, chance: random.Random) -> str:
    name = f"{chance.choice(MODULES)}-{chance.choice((1, 2))}"
    code = await cluster.platform.stopped(name)
    assert code == 0, f"{name} ended with {code}"
    await cluster.start(name)
    return name


def _server_killed(kind: str) -> Strike:
    async def strike(cluster: Cluster, chance: random.Random) -> str:
        child = cluster.child(kind, chance.choice((1, 2, 3)))
        await child.kill()
        await asyncio.sleep(chance.uniform(0, 3))
        await child.restart()
        return child.spec.name

    return strike


def _server_restarted(kind: str) -> Strike:
    async def strike(cluster: Cluster, chance: random.Random) -> str:
        child = cluster.child(kind, chance.choice((1, 2, 3)))
        await child.restart()
        return child.spec.name

    return strike


def _server_paused(kind: str) -> Strike:
    async def strike(cluster: Cluster, chance: random.Random) -> str:
        child = cluster.child(kind, chance.choice((1, 2, 3)))
        await child.pause()
        await asyncio.sleep(chance.uniform(1, 8))
        child.resume()
        return child.spec.name

    return strike


def _all_killed(kind: str) -> Strike:
    async def strike(cluster: Cluster, chance: random.Random) -> str:
        children = cluster.children(kind)
        await asyncio.gather(*[child.kill() for child in children])
        await asyncio.sleep(chance.uniform(0, 2))
        await asyncio.gather(*[child.restart() for child in children])
        return f"all of {kind}"

    return strike


async def _cut_off(cluster: Cluster, chance: random.Random) -> str:
    name, proxy = chance.choice(sorted(cluster.proxies.items()))
    await proxy.refuse()
    await asyncio.sleep(chance.uniform(1, 6))
    await proxy.accept()
    return name


async def _answers_lost(cluster: Cluster, chance: random.Random) -> str:
    name, proxy = chance.choice(sorted(cluster.proxies.items()))
    proxy.swallow()
    await asyncio.sleep(chance.uniform(0.2, 3))
    # Who waits for an answer on one of these connections never gets it.
    proxy.cut()
    await proxy.accept()
    return name


async def _wrong_clock(cluster: Cluster, chance: random.Random) -> str:
    name = f"{chance.choice(MODULES)}-{chance.choice((1, 2))}"
    ahead = chance.random() < 0.5
    cluster.process(name).signal(signal.SIGUSR1 if ahead else signal.SIGUSR2)
    return f"{name} {'ahead' if ahead else 'behind'}"


async def _topics_deleted(cluster: Cluster, chance: random.Random) -> str:
    """Deletes what the consumers have not read yet; a processor that starts makes topics anew."""
    names = [f"processor_svc-{number}" for number in (1, 2)]
    await asyncio.gather(*map(cluster.kill, names))
    await asyncio.sleep(chance.uniform(1, 3))
    await asyncio.to_thread(_delete_topics, cluster.servers.bootstrap, _topics(cluster))
    await asyncio.gather(*map(cluster.start, names))
    return "events, log and changes"


def _topics(cluster: Cluster) -> list[str]:
    prefix = cluster.platform.topic_prefix
    return [f"{prefix}.{channel}" for channel in ("events", "log", "changes")]


def _delete_topics(bootstrap: str, topics: Sequence[str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for deleted in admin.delete_topics(list(topics)).values():
        deleted.result(TOPICS_SECONDS)
    while set(admin.list_topics(timeout=TOPICS_SECONDS).topics) & set(topics):
        pass


FAULTS = (
    Fault("command service killed", 4, _killed("command_svc")),
    Fault("processor killed", 4, _killed("processor_svc")),
    Fault("query service killed", 3, _killed("query_svc")),
    Fault("both processors killed", 1, _both_processors),
    Fault("service paused", 4, _paused),
    Fault("service restarted", 2, _restarted),
    Fault("Cassandra node killed", 2, _server_killed("cassandra")),
    Fault("Cassandra node restarted", 2, _server_restarted("cassandra")),
    Fault("Cassandra node paused", 3, _server_paused("cassandra")),
    Fault("Cassandra cluster killed", 1, _all_killed("cassandra")),
    Fault("services cut off from a node", 3, _cut_off),
    Fault("answers of a node lost", 4, _answers_lost),
    Fault("Kafka broker killed", 2, _server_killed("kafka")),
    Fault("Kafka broker restarted", 2, _server_restarted("kafka")),
    Fault("Kafka broker paused", 3, _server_paused("kafka")),
    Fault("Kafka cluster killed", 1, _all_killed("kafka")),
    Fault("topics deleted while consumers lag", 1, _topics_deleted),
    Fault("clock of a service an hour off", 2, _wrong_clock),
)


def drawn(chance: random.Random, count: int) -> list[Fault]:
    """Returns so many faults: each kind once, in any order, and then by weight."""
    first = chance.sample(FAULTS, len(FAULTS))
    weights = [fault.weight for fault in FAULTS]
    return [*first, *chance.choices(FAULTS, weights, k=max(count - len(first), 0))][:count]
