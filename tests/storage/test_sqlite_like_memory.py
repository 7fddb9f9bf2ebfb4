"""The SQLite backend answers as the memory backend does, whatever is asked of them."""

import random
from pathlib import Path

import pytest

from eventspine.storage.memory.events import MemoryEventStore
from eventspine.storage.records import Append, Outcome, Stored
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.events import SqliteEventStore
from eventspine.storage.sqlite.log import SqliteEventLog
from tests.storage.appends import append_of

STREAMS = tuple(f"account/{number}" for number in range(6))


async def an_append(chance: random.Random, memory: MemoryEventStore) -> Append:
    stream = chance.choice(STREAMS)
    head = await memory.head(stream)
    expected = max(0, head.version + chance.choice((0, 0, 0, 0, -1, 1)))
    ids = chance.sample([f"c{number}" for number in range(60)], chance.choice((1, 1, 2)))
    content = chance.choice(("", "", "", "other"))
    events = chance.choice((0, 1, 1, 3))
    return append_of(stream, expected, *ids, events=events, chain=head.chain, content=content)


def without_sequence(outcomes: list[Outcome]) -> list[Outcome]:
    return [Stored(None) if isinstance(outcome, Stored) else outcome for outcome in outcomes]


@pytest.mark.parametrize("history", ["one", "another"])
async def test_the_same_operations_have_the_same_outcomes(history: str, tmp_path: Path) -> None:
    seed = random.randrange(10**9)
    chance = random.Random(seed)
    memory = MemoryEventStore()
    db = SqliteDatabase.open(tmp_path / f"{history}.db")
    for step in range(150):
        store = SqliteEventStore(db)
        for _ in range(3):
            # Built on the heads before the call: the later ones of a call may be too late.
            appends = [await an_append(chance, memory) for _ in range(chance.randrange(1, 5))]
            outcomes = await store.append(appends)
            assert without_sequence(outcomes) == await memory.append(appends), (seed, step)
        if chance.random() < 0.05:
            await db.close()
            db = SqliteDatabase.open(tmp_path / f"{history}.db")
    store = SqliteEventStore(db)
    assert await store.heads() == await memory.heads(), seed
    assert await store.commands(limit=10_000) == await memory.commands(limit=10_000), seed
    for stream in STREAMS:
        for after in range(0, 12, 3):
            for backwards in (False, True):
                part = await store.read(stream, after=after, limit=4, backwards=backwards)
                same = await memory.read(stream, after=after, limit=4, backwards=backwards)
                assert part == same, (seed, stream, after, backwards)
    entries = await SqliteEventLog(db).read(0, limit=100_000)
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1)), seed
    await db.close()
