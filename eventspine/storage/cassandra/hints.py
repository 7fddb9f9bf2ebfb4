"""Hints and the auditor's mark, in Cassandra; promise: a group of hints is one small write.

These are plain writes, of cells that no conditional write ever touches. A hint that is lost costs
time: the auditor finds what it would have told.
"""

import json
from collections.abc import Collection

from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.records import AuditMark, HintWriter

_STREAMS_MAX = 100
"""How many hints go out together: twenty kilobytes, below what a batch may have."""


class CassandraHintStore:
    """The port `HintStore` on a keyspace, for one tenant."""

    def __init__(self, store: CassandraStore) -> None:
        """Uses an open keyspace, which others close."""
        self._session = store.session
        self._tenant = store.tenant
        hints, writers = store.session.table("hints"), store.session.table("hint_writers")
        window = "tenant = ? AND writer = ? AND window_number = ?"
        self._note = (
            f"INSERT INTO {hints} (tenant, writer, window_number, stream) VALUES (?, ?, ?, ?)"
        )
        self._streams = f"SELECT stream FROM {hints} WHERE {window}"
        self._drop = f"DELETE FROM {hints} WHERE {window}"
        self._beat = (
            f"INSERT INTO {writers} (tenant, writer, beat, first_window, last_window)"
            " VALUES (?, ?, ?, ?, ?)"
        )
        self._writers = (
            f"SELECT writer, beat, first_window, last_window FROM {writers} WHERE tenant = ?"
        )
        self._forget = f"DELETE FROM {writers} WHERE tenant = ? AND writer = ?"

    async def note(self, writer: str, window: int, streams: Collection[str]) -> None:
        """Leaves hints; see the port."""
        named = list(streams)
        for first in range(0, len(named), _STREAMS_MAX):
            part = named[first : first + _STREAMS_MAX]
            await self._session.write(
                *[(self._note, (self._tenant, writer, window, stream)) for stream in part]
            )

    async def beat(self, writer: HintWriter) -> None:
        """Tells that a writer lives; see the port."""
        await self._session.write((self._beat, (self._tenant, *writer)))

    async def writers(self) -> list[HintWriter]:
        """Returns all writers; see the port."""
        return [
            HintWriter(*row) for row in await self._session.read(self._writers, (self._tenant,))
        ]

    async def streams(self, writer: str, window: int) -> list[str]:
        """Returns the hints of a window; see the port."""
        values = (self._tenant, writer, window)
        return [stream for (stream,) in await self._session.read(self._streams, values)]

    async def drop(self, writer: str, window: int) -> None:
        """Deletes the hints of a window; see the port."""
        await self._session.write((self._drop, (self._tenant, writer, window)))

    async def forget(self, writer: str) -> None:
        """Deletes a writer; see the port."""
        await self._session.write((self._forget, (self._tenant, writer)))


class CassandraAuditStore:
    """The port `AuditStore` on a keyspace, for one tenant."""

    def __init__(self, store: CassandraStore) -> None:
        """Uses an open keyspace, which others close."""
        self._session = store.session
        self._tenant = store.tenant
        audit = store.session.table("audit")
        self._load = f"SELECT mark FROM {audit} WHERE tenant = ?"
        self._save = f"INSERT INTO {audit} (tenant, mark) VALUES (?, ?) USING TIMESTAMP ?"

    async def load(self) -> AuditMark:
        """Returns the mark; see the port."""
        rows = await self._session.read(self._load, (self._tenant,))
        if not rows:
            return AuditMark()
        facts = json.loads(rows[0][0])
        return AuditMark(**{**facts, "broken": tuple(facts["broken"])})

    async def save(self, mark: AuditMark) -> None:
        """Keeps a later mark; see the port."""
        text = json.dumps(mark._asdict())
        await self._session.write((self._save, (self._tenant, text, mark.ended_us)))
