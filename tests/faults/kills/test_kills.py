"""Faults on the real stack under load, one after the other: what was promised is true at the end.

`make test-faults` strikes 40 times, FAULTS=n another number. A failure prints its seed; set
SEED to it for the same faults in the same order.
"""

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.kills.clients import Clients
from tests.faults.kills.cluster import Cluster
from tests.faults.kills.judge import SEED, acknowledged, judged, say
from tests.faults.kills.strike import Fault, drawn
from tests.stack.forking import Forking

COUNT = int(os.environ.get("FAULTS") or 40)
ACKNOWLEDGED_MIN = 50


async def strike_all(cluster: Cluster, clients: Clients, faults: list[Fault]) -> None:
    """Strikes again and again, each time after enough was acknowledged."""
    chance = random.Random(SEED)
    for number, fault in enumerate(faults, 1):
        await acknowledged(clients, ACKNOWLEDGED_MIN)
        began, before = time.monotonic(), clients.acknowledged
        whom = await fault.strike(cluster, chance)
        clients.check()
        took = f"{time.monotonic() - began:.1f} s"
        say(f"{number}. {fault.name}: {whom}, {took}, {clients.acknowledged - before} acknowledged")
    await acknowledged(clients, ACKNOWLEDGED_MIN)


@pytest.mark.kills
@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_what_was_acknowledged_is_true_whatever_is_struck_down(
    launchable: None, forking: Forking, tmp_path: Path
) -> None:
    began = time.monotonic()
    say(f"SEED={SEED}, {COUNT} faults")
    faults = drawn(random.Random(SEED), COUNT)
    async with Cluster(forking, tmp_path) as cluster:
        say(f"all is up after {time.monotonic() - began:.0f} s")
        async with Clients(cluster.address, SEED) as clients:
            await strike_all(cluster, clients, faults)
            await judged(cluster, clients)
    kinds = Counter(fault.name for fault in faults)
    say(f"{len(faults)} faults of {len(kinds)} kinds, {time.monotonic() - began:.0f} s in all")
