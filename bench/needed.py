"""The least that a stored command needs in one Python process, with nothing around it.

What stands here does the work that the platform promises for each command: it tells the command
from every other by a digest, decides, evolves, encodes the record with its chain hash, and inserts
the row of the event and that of the command with one commit a group. It checks nothing, knows no
callers, no lanes and no threads, and publishes nothing. Its speed is the most that any arrangement
of the same work could reach on one core; that of the part without the file is the most with the
file on another core for nothing.
"""

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bank.v1.account_pb2 import AccountState, MoneyDeposited
from bench.accounts import ACCOUNTS, account_id, deposits
from bench.rounds import Half
from domains.bank.account import ACCOUNT
from eventspine.storage.codec import encode
from eventspine.storage.records import GENESIS
from eventspine.storage.sqlite.append import INSERT_COMMAND, INSERT_EVENT
from eventspine.storage.sqlite.schema import EVENT_TABLES
from eventspine.v1.record_pb2 import EventRecord

Rows = tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]
"""Rows of events and rows of commands."""


class NeededWork:
    """A file with our two tables, and a loop that fills them."""

    def __init__(self, path: Path) -> None:
        """Makes the file; all accounts are open."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        for statement in EVENT_TABLES:
            self._connection.execute(statement)
        self._states = {account_id(number): AccountState(opened=True) for number in range(ACCOUNTS)}
        self._heads = dict.fromkeys(self._states, (0, GENESIS))
        self._record = EventRecord(tenant="default", type=MoneyDeposited.DESCRIPTOR.full_name)
        self._record.schema_fingerprint = bytes(range(1, 9))
        self._end = 0

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def store(self, count: int, group: int) -> Half:
        """Decides and stores deposits, so many a commit."""
        before, requests = self._end, deposits(count)
        began = time.perf_counter()
        for first in range(0, count, group):
            events, commands = self._rows(requests[first : first + group])
            self._connection.execute("BEGIN IMMEDIATE")
            INSERT_COMMAND.run(self._connection, commands)
            INSERT_EVENT.run(self._connection, events)
            self._connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        (stored,) = self._connection.execute(
            "SELECT count(*) FROM events WHERE sequence > ?", (before,)
        ).fetchone()
        return Half(count, seconds, stored)

    def decide(self, count: int, group: int) -> Half:
        """Does the same without the file."""
        requests, made = deposits(count), 0
        end, heads = self._end, dict(self._heads)
        began = time.perf_counter()
        for first in range(0, count, group):
            made += len(self._rows(requests[first : first + group])[0])
        seconds = time.perf_counter() - began
        # What was not stored gives its sequences and versions back.
        self._end, self._heads = end, heads
        return Half(count, seconds, made)

    def _rows(self, requests: Sequence[Any]) -> Rows:
        events: list[tuple[Any, ...]] = []
        commands: list[tuple[Any, ...]] = []
        record, time_us = self._record, time.time_ns() // 1000
        record.append_time.seconds, nanos = divmod(time_us, 1_000_000)
        record.append_time.nanos = nanos * 1_000
        for request in requests:
            account, command_id = request.account_id, request.header.command_id
            digest = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
            state, (version, chain) = self._states[account], self._heads[account]
            (event,) = ACCOUNT.decide(state, request)
            self._states[account] = ACCOUNT.evolve(state, event)
            stream = f"account/{account}"
            record.stream, record.stream_version = stream, version + 1
            record.event_id = f"{command_id}.0"
            record.command_id = record.correlation_id = command_id
            record.payload = event.SerializeToString()
            stored, chain = encode(record, chain)
            self._heads[account] = (version + 1, chain)
            self._end += 1
            events.append((self._end, stream, *stored))
            commands.append((stream, command_id, digest, version + 1, 1, time_us))
        return events, commands
