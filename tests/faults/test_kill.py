"""`kill -9` under load, again and again on one file: what was promised is true at the end.

A failure prints its seed; set EVENTSPINE_SEED to it for the same commands and moments of death.
"""

import asyncio
import os
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from eventspine.client.client import Client
from eventspine.v1.admin_pb2 import VerifyRequest
from tests.faults.checker import Entry, Evidence, broken_promises
from tests.faults.folding import folded
from tests.faults.load import Follower, History, Load
from tests.faults.process import running
from tests.faults.queried import rows_of
from tests.storage.until import until

KILLS = 20
ACKNOWLEDGED_MIN = 50
SEED = int(os.environ.get("EVENTSPINE_SEED") or random.randrange(2**32))


async def killed_under_load(db: Path, load: Load, follower: Follower, history: History) -> int:
    """Runs one platform until it is killed in the middle; returns what it acknowledged."""
    before = len(history.answered)
    async with running(db) as platform:
        clients = asyncio.gather(
            load.run(platform.address, unary=12, bulk=3), follower.follow(platform.address)
        )
        try:
            enough = before + ACKNOWLEDGED_MIN
            await until(lambda: len(history.answered) >= enough or clients.done(), 20)
            await asyncio.sleep(random.Random(SEED + before).uniform(0, 0.2))
        finally:
            await platform.kill()
            await clients
    return len(history.answered) - before


def stored(db: Path) -> Sequence[Entry]:
    """Reads the file itself, without the platform."""
    with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        columns = "sequence, stream, stream_version, type, encoded"
        rows = connection.execute(f"SELECT {columns} FROM events ORDER BY sequence").fetchall()
    connection.close()
    return [Entry(*row) for row in rows]


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_what_was_acknowledged_is_true_after_20_deaths_under_load(tmp_path: Path) -> None:
    db = tmp_path / "store.db"
    history, follower = History(), Follower()
    load = Load(history, SEED)
    counted = 0
    for _ in range(2 * KILLS):
        acknowledged = await killed_under_load(db, load, follower, history)
        counted += acknowledged >= ACKNOWLEDGED_MIN
        if counted == KILLS:
            break
    assert counted == KILLS
    async with running(db) as platform, Client.connect(platform.address) as client:
        await load.settle(platform.address, repeated=1_000)
        assert list(history.unanswered.values())[:3] == []
        last = await client.execute(history.settled[-1])
        rows = await rows_of(client, last.result.token)
        (verified,) = [v async for v in client.read(VerifyRequest()) if v.done]
        assert (verified.breaks, verified.records) == ([], len(stored(db)))
        async with asyncio.timeout(20):
            await follower.follow(
                platform.address, lambda: len(follower.transcript) >= verified.records
            )
        assert await platform.stop() == (0, "")
    log = stored(db)
    evidence = Evidence(
        sent=history.sent,
        answered=history.answered,
        refused=history.refused,
        log=log,
        transcript=follower.transcript,
        folded=folded(log),
        rows=rows,
    )
    assert broken_promises(evidence) == [], f"EVENTSPINE_SEED={SEED}"
    assert follower.resumed >= KILLS * 3 / 4
    replayed = sum(answer.replayed for answer in history.answered)
    summary = f"{len(log)} events, {len(history.answered)} answers, {replayed} replayed"
    assert len(log) > KILLS * ACKNOWLEDGED_MIN / 2, summary
    assert replayed > KILLS, summary
    print(summary, f"{len(history.refused)} refusals, {follower.resumed} resumed")  # noqa: T201 - shown by pytest -s only
