"""What was acknowledged before `kill -9` is in the file after it."""

import subprocess
import sys
from pathlib import Path

from eventspine.storage import codec
from eventspine.storage.records import GENESIS, Replayed, Stored
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.events import SqliteEventStore
from eventspine.storage.sqlite.log import SqliteEventLog
from tests.storage.appends import append_of

LOAD = """
import asyncio, sys
from pathlib import Path
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.events import SqliteEventStore
from tests.storage.appends import append_of
from eventspine.storage.records import GENESIS

async def write(store, stream):
    chain, version = GENESIS, 0
    while True:
        append = append_of(stream, version, f"c{version}", events=2, chain=chain)
        await store.append([append])
        print(stream, version, flush=True)
        chain, version = append.chain, version + 2

async def main():
    store = SqliteEventStore(SqliteDatabase.open(Path(sys.argv[1])))
    await asyncio.gather(*[write(store, f"account/{number}") for number in range(20)])

asyncio.run(main())
"""


def acknowledged_before_the_kill(path: Path, lines: int) -> dict[str, list[int]]:
    """Runs a load, kills it after some acknowledgements; returns all of them by stream."""
    found: dict[str, list[int]] = {}
    command = [sys.executable, "-c", LOAD, str(path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as load:
        assert load.stdout is not None
        for number, line in enumerate(load.stdout):
            if number == lines:
                load.kill()
            if line.endswith("\n"):
                stream, version = line.split()
                found.setdefault(stream, []).append(int(version))
    return found


async def test_every_acknowledged_append_survives_kill_9_and_answers_as_first(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    acknowledged = acknowledged_before_the_kill(path, lines=300)
    assert len(acknowledged) == 20
    db = SqliteDatabase.open(path)
    store = SqliteEventStore(db)
    for stream, versions in acknowledged.items():
        assert versions == list(range(0, 2 * len(versions), 2))
        records = await store.read(stream, limit=100_000)
        assert len(records) >= 2 * len(versions)
        codec.verify(stream, records, GENESIS, 0)
        for version in versions:
            (outcome,) = await store.append([append_of(stream, version, f"c{version}", events=2)])
            assert isinstance(outcome, Replayed)
    entries = await SqliteEventLog(db).read(0, limit=1_000_000)
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert await store.append([append_of("new/1", 0, "c")]) == [Stored(len(entries) + 1)]
    await db.close()
