"""What is waited for under load, and how a run is judged at its end."""

import asyncio
import os
import random
import time
from typing import Any

from grpc import aio

from eventspine.client.client import Client
from eventspine.v1.admin_pb2 import AuditRequest, ListViewsRequest
from eventspine.v1.admin_pb2_grpc import AdminServiceStub
from tests.faults.checker import Evidence, broken_promises
from tests.faults.folding import folded
from tests.faults.kills.clients import ALL, PREFIXES, Clients
from tests.faults.kills.cluster import Cluster
from tests.faults.kills.stored import Stored, stored
from tests.faults.queried import VIEWS, rows_of

SEED = int(os.environ.get("SEED") or random.randrange(2**32))
STALLED_SECONDS = 120
SETTLED_SECONDS = 300


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)  # noqa: T201 - shown by pytest -s only


async def acknowledged(clients: Clients, more: int) -> None:
    """Waits until clients were acknowledged so many commands more."""
    wanted, before = clients.acknowledged + more, clients.failures.copy()
    try:
        async with asyncio.timeout(STALLED_SECONDS):
            while clients.acknowledged < wanted:
                clients.check()
                await asyncio.sleep(0.05)
    except TimeoutError:
        found = dict(clients.failures - before)
        short = wanted - clients.acknowledged
        raise AssertionError(
            f"{short} of {more} commands were not acknowledged in {STALLED_SECONDS} s: {found}"
        ) from None


async def judged(cluster: Cluster, clients: Clients) -> None:
    """Ends the load, waits until all is where it belongs, and fails if a promise is broken."""
    try:
        await clients.finish(SETTLED_SECONDS)
        await _audited(cluster.address)
        try:
            async with asyncio.timeout(SETTLED_SECONDS):
                held = await _settled(cluster, clients)
        except TimeoutError:
            say("it did not settle; what is missing:")
            held = await asyncio.to_thread(
                stored, cluster.servers.contact_points, cluster.platform.keyspace
            )
    finally:
        await clients.stop()
    async with Client.connect(cluster.address) as client:
        rows = await rows_of(client, "")
    history = clients.history
    broken = broken_promises(
        Evidence(
            sent=history.sent,
            answered=history.answered,
            refused=history.refused,
            failed=history.failed,
            log=held.log,
            events=held.events,
            transcript=clients.followers[0].transcript,
            filtered={
                prefix: follower.transcript
                for prefix, follower in zip(PREFIXES, clients.followers, strict=True)
                if prefix != ALL or follower is not clients.followers[0]
            },
            folded=folded(held.log),
            rows=rows,
        )
    )
    say(
        f"{len(held.log)} events; {clients.acknowledged} acknowledgements, "
        f"{sum(one.replayed for one in history.answered)} of them of commands sent before; "
        f"{len(history.refused)} refusals; {clients.shown} own writes shown"
    )
    say(f"resumed: {[follower.resumed for follower in clients.followers]}")
    say(f"failures that clients saw: {dict(clients.failures)}")
    assert broken == [], f"SEED={SEED}"
    assert clients.wrong == [], f"SEED={SEED}"
    assert list(history.unanswered) == []


async def _audited(address: str) -> None:
    """Has the whole store compared with the log, as an operator may."""
    async with Client.connect(address) as client:
        answers: list[Any] = [one async for one in client.read(AuditRequest())]
    say(f"audit: {str(answers[-1]).strip()}")


async def _settled(cluster: Cluster, clients: Clients) -> Stored:
    """Waits until log, views and subscriptions have all that is stored; returns what that is."""
    points, keyspace = cluster.servers.contact_points, cluster.platform.keyspace
    async with aio.insecure_channel(cluster.address) as channel:
        admin = AdminServiceStub(channel)
        while True:
            held = await asyncio.to_thread(stored, points, keyspace)
            lags = [await _lag(admin, kind.DESCRIPTOR.full_name) for kind in VIEWS]
            seen = [len(follower.transcript) for follower in clients.followers]
            wanted = [
                sum(entry.stream.startswith(prefix) for entry in held.log) for prefix in PREFIXES
            ]
            if len(held.log) >= len(held.events) and not any(lags) and seen >= wanted:
                return held
            say(f"{len(held.events)} stored, {len(held.log)} in the log; lags {lags}; seen {seen}")
            await asyncio.sleep(2)


async def _lag(admin: Any, view: str) -> int:
    reply = await admin.ListViews(ListViewsRequest(view=view))
    lag: int = reply.views[0].builds[0].lag_events
    return lag
