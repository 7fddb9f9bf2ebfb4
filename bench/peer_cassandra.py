"""The raw work on Cassandra by the quickest client at hand, `acsylla`, run in its own environment.

It reads one JSON object a line from standard input and answers each with one. It imports nothing of
this repository. D2 and D2s store one event and one command row by one conditional batch, as an
append does; D3 inserts rows of a view. Statements are prepared, and nothing is read back.
"""

import asyncio
import itertools
import json
import statistics
import sys
import time
from importlib.metadata import version
from typing import Any

import acsylla

_KEY = "tenant = ? AND stream = ? AND bucket = ?"


class Raw:
    """Loops over one session; keyspace and tables are there."""

    def __init__(self, session: Any, keyspace: str, record_bytes: int) -> None:
        """Writes records of so many bytes into the tables `raw_events` and `raw_rows`."""
        self._session = session
        self._keyspace = keyspace
        self._record = bytes(record_bytes)
        self._numbers = itertools.count(time.time_ns())
        self._statements: dict[str, Any] = {}

    async def prepare(self) -> None:
        """Prepares all statements."""
        events, rows = f"{self._keyspace}.raw_events", f"{self._keyspace}.raw_rows"
        cql = {
            "move": f"UPDATE {events} SET head = ?, chain = ? WHERE {_KEY} IF head = ?",
            "start": f"UPDATE {events} SET head = ?, chain = ? WHERE {_KEY} IF head = null",
            "command": f"INSERT INTO {events} (tenant, stream, bucket, kind, version, command_id,"
            " digest, last_version, event_count, append_time_us)"
            " VALUES (?, ?, ?, 0, 0, ?, ?, ?, 1, ?) IF NOT EXISTS",
            "event": f"INSERT INTO {events} (tenant, stream, bucket, kind, version, command_id,"
            " type, encoded) VALUES (?, ?, ?, 1, ?, '', 'bank.v1.MoneyDeposited', ?)",
            "row": f"INSERT INTO {rows} (tenant, build, account_id, log_partition, sequence,"
            " encoded) VALUES ('raw', 1, ?, 0, ?, ?) USING TIMESTAMP ?",
        }
        for name, text in cql.items():
            self._statements[name] = await self._session.create_prepared(text)

    async def distinct(self, count: int, in_flight: int) -> dict[str, float]:
        """D2: one event on each of so many new streams."""
        numbers = iter([next(self._numbers) for _ in range(count)])

        async def writer() -> int:
            stored = 0
            for number in numbers:
                stored += await self._append(f"raw/{number}", 0)
            return stored

        began = time.perf_counter()
        stored = sum(await asyncio.gather(*(writer() for _ in range(in_flight))))
        return {"seconds": time.perf_counter() - began, "stored": stored}

    async def one_stream(self, count: int) -> dict[str, Any]:
        """D2s: events on one new stream, each after the one before."""
        stream = f"raw/{next(self._numbers)}"
        took = []
        stored = 0
        for head in range(count):
            began = time.perf_counter()
            stored += await self._append(stream, head)
            took.append(time.perf_counter() - began)
        return {"seconds": sum(took), "stored": stored, "median": statistics.median(took)}

    async def rows(self, count: int, in_flight: int) -> dict[str, Any]:
        """D3: so many new rows of a view, by as many writers."""
        numbers = iter([next(self._numbers) for _ in range(count)])
        took: list[float] = []
        statement, encoded = self._statements["row"], self._record[:60]

        async def writer() -> None:
            for number in numbers:
                began = time.perf_counter()
                bound = statement.bind([f"account-{number}", 1, encoded, 1])
                await self._session.execute(bound)
                took.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(writer() for _ in range(in_flight)))
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "stored": len(took), "median": statistics.median(took)}

    async def versions(self) -> dict[str, str]:
        """What runs here."""
        return {"versions": f"acsylla {version('acsylla')}"}

    async def _append(self, stream: str, head: int) -> bool:
        known = self._statements
        key = ["raw", stream, 0]
        batch = acsylla.create_batch_unlogged()
        if head:
            batch.add_statement(known["move"].bind([head + 1, self._record[:32], *key, head]))
        else:
            batch.add_statement(known["start"].bind([1, self._record[:32], *key]))
        command = [*key, f"command-{head}", self._record[:32], head + 1, time.time_ns() // 1000]
        batch.add_statement(known["command"].bind(command))
        batch.add_statement(known["event"].bind([*key, head + 1, self._record]))
        result = await self._session.execute_batch(batch)
        return bool(result.first().as_dict()["[applied]"])


async def main() -> None:
    """Answers requests until there are no more."""
    host, _, port = sys.argv[1].rpartition(":")
    cluster = acsylla.create_cluster(
        [host], port=int(port), consistency="QUORUM", serial_consistency="SERIAL"
    )
    session = await cluster.create_session()
    raw = Raw(session, sys.argv[2], int(sys.argv[3]))
    await raw.prepare()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        answer = await getattr(raw, request.pop("work"))(**request)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    await session.close()


if __name__ == "__main__":
    asyncio.run(main())
