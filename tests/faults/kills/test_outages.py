"""A minute without Kafka, and a minute without a quorum of Cassandra, under load on the real stack.

Without Kafka commands are acknowledged as before, and everything arrives once it is back. Without a
quorum each fails, definitely or as unknown, within its deadline; none is acknowledged.
"""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest
from grpc import aio

from bank.v1 import account_pb2 as pb
from bank.v1.account_pb2_grpc import AccountCommandsStub
from eventspine.client.errors import CallError, call_error
from eventspine.v1.command_pb2 import CommandHeader
from tests.faults.kills.clients import Clients
from tests.faults.kills.cluster import Cluster
from tests.faults.kills.judge import SEED, acknowledged, judged, say
from tests.stack.forking import Forking

OUTAGE_SECONDS = 60
BEFORE = 50
A_SECOND_MIN = 5
"""How many acknowledgements a second are expected without Kafka; about a tenth of those with it."""

GRACE_SECONDS = 2.0
"""How long an answer may take from a node that is dead by now to a client."""

DEADLINE_SECONDS = 5.0
LATE_SECONDS = 1.0


async def without_kafka(cluster: Cluster, clients: Clients) -> None:
    await acknowledged(clients, BEFORE)
    brokers = cluster.children("kafka")
    await asyncio.gather(*[broker.kill() for broker in brokers])
    before, saw = clients.acknowledged, clients.failures.copy()
    await asyncio.sleep(OUTAGE_SECONDS)
    clients.check()
    more = clients.acknowledged - before
    failed = dict(clients.failures - saw)
    say(f"{more} acknowledged in {OUTAGE_SECONDS} s without Kafka; {failed}")
    assert more > A_SECOND_MIN * OUTAGE_SECONDS
    await asyncio.gather(*[broker.restart() for broker in brokers])


async def failure_of_a_command(address: str, number: int) -> CallError:
    """Sends a command that cannot be stored; returns how it failed, which was in time."""
    async with aio.insecure_channel(address) as channel:
        request = pb.OpenAccountRequest(
            header=CommandHeader(command_id=f"outage {number}"),
            account_id=f"outage-{number}",
            owner="Ann",
        )
        began = time.monotonic()
        with pytest.raises(aio.AioRpcError) as failed:
            await AccountCommandsStub(channel).OpenAccount(request, timeout=DEADLINE_SECONDS)
        assert time.monotonic() - began < DEADLINE_SECONDS + LATE_SECONDS
    return call_error(failed.value)


async def without_a_quorum(cluster: Cluster, clients: Clients) -> None:
    await acknowledged(clients, BEFORE)
    nodes = cluster.children("cassandra")[:2]
    await asyncio.gather(*[node.kill() for node in nodes])
    await asyncio.sleep(GRACE_SECONDS)
    before, end = clients.acknowledged, time.monotonic() + OUTAGE_SECONDS
    reasons: list[str] = []
    while time.monotonic() < end:
        failure = await failure_of_a_command(cluster.address, len(reasons))
        reasons.append(failure.reason or failure.code.name)
        await asyncio.sleep(1)
    clients.check()
    # What was stored before is remembered, so that a repeated command gets its first answer.
    answered = clients.history.answered[before:]
    new = [one for one in answered if not one.replayed]
    say(
        f"{len(new)} acknowledged without a quorum, {len(answered) - len(new)} once more; "
        f"failures: {Counter(reasons)}"
    )
    assert new == []
    assert set(reasons) <= {
        *("ERROR_REASON_STORE_UNAVAILABLE", "ERROR_REASON_OUTCOME_UNKNOWN"),
        *("ERROR_REASON_DEADLINE_EXCEEDED", "ERROR_REASON_OVERLOADED"),
        *("DEADLINE_EXCEEDED", "UNAVAILABLE"),
    }
    await asyncio.gather(*[node.restart() for node in nodes])
    await acknowledged(clients, BEFORE)


@pytest.mark.kills
@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_outages_of_a_minute_lose_nothing_and_acknowledge_nothing_that_is_not_stored(
    launchable: None, forking: Forking, tmp_path: Path
) -> None:
    say(f"SEED={SEED}, outages of {OUTAGE_SECONDS} s")
    async with (
        Cluster(forking, tmp_path) as cluster,
        Clients(cluster.address, SEED) as clients,
    ):
        await without_kafka(cluster, clients)
        await without_a_quorum(cluster, clients)
        await judged(cluster, clients)
