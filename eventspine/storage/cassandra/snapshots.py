"""Snapshots, in Cassandra; promise: the latest of each stream, whole.

A snapshot is one cell, written with the stream version as its timestamp: an older one that comes
late loses. Of two with the same version, the greater bytes win, which begin with the code version.
"""

import struct

from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.records import Snapshot

_FIXED = struct.Struct(">QQ32s")
"""The code version, the stream version and the chain hash; the state is behind them."""


class CassandraSnapshotStore:
    """The port `SnapshotStore` on a keyspace, for one tenant."""

    def __init__(self, store: CassandraStore) -> None:
        """Uses an open keyspace, which others close."""
        self._session = store.session
        self._tenant = store.tenant
        snapshots = store.session.table("snapshots")
        self._load = f"SELECT packed FROM {snapshots} WHERE tenant = ? AND stream = ?"
        self._save = (
            f"INSERT INTO {snapshots} (tenant, stream, packed) VALUES (?, ?, ?) USING TIMESTAMP ?"
        )

    async def load(self, stream: str) -> Snapshot | None:
        """Returns the latest snapshot; see the port."""
        rows = await self._session.read(self._load, (self._tenant, stream))
        if not rows:
            return None
        (packed,) = rows[0]
        code_version, version, chain = _FIXED.unpack_from(packed)
        return Snapshot(stream, version, code_version, chain, packed[_FIXED.size :])

    async def save(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot in place of an older one; see the port."""
        stream, version, code_version, chain, state = snapshot
        packed = _FIXED.pack(code_version, version, chain) + state
        await self._session.write((self._save, (self._tenant, stream, packed, version)))
