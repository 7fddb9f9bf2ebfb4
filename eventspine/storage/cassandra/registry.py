"""The builds of views, in Cassandra; promise: a change from an old revision changes nothing."""

import asyncio
import json
import secrets
from collections.abc import Sequence

from eventspine.storage.cassandra.parked import CassandraParked
from eventspine.storage.cassandra.settle import settled
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.records import Build, Builds, Parked


class CassandraViewRegistry:
    """The ViewRegistry of a keyspace, for one tenant."""

    def __init__(self, store: CassandraStore) -> None:
        """Keeps builds in an open keyspace, which others close."""
        self._session = store.session
        self._tenant = store.tenant
        self._partitions = store.partitions
        self._parked = CassandraParked(store)
        table = store.session.table("view_builds")
        self._names = f"SELECT name, builds FROM {table} WHERE tenant = ?"
        self._builds = f"SELECT revision, builds FROM {table} WHERE tenant = ? AND name = ?"
        self._put = (
            f"UPDATE {table} SET revision = ?, builds = ?, change = ? WHERE tenant = ? AND name = ?"
            " IF revision = ? AND change = ?"
        )
        self._change = f"SELECT revision, change FROM {table} WHERE tenant = ? AND name = ?"

    async def views(self) -> list[str]:
        """Returns the names of the views that have builds, in order."""
        rows = await self._session.read(self._names, (self._tenant,))
        return sorted(name for name, builds in rows if json.loads(builds))

    async def builds(self, view: str) -> Builds:
        """Returns the builds of a view, oldest first; revision 0 and none for an unknown view."""
        rows = await self._session.read(self._builds, (self._tenant, view))
        if not rows:
            return Builds(0, ())
        revision, builds = rows[0]
        return Builds(revision, tuple(Build(**build) for build in json.loads(builds)))

    async def put(self, view: str, revision: int, builds: Sequence[Build]) -> bool:
        """Replaces the builds of a view if they are still at `revision`. False: they are not.

        Raises:
            OutcomeUnknownError: They may have been replaced; look them up.
            StoreUnavailableError: They were not replaced.
        """
        rows = await self._session.read(self._change, (self._tenant, view))
        before, change = rows[0] if rows else (None, None)
        if (before or 0) != revision:
            return False
        text = json.dumps([build._asdict() for build in sorted(builds)])
        mine = secrets.token_bytes(8)
        values = (revision + 1, text, mine, self._tenant, view, before, change)
        return await settled(self._session, [(self._put, values)], "change", mine)

    async def parked(self, build_id: str) -> list[Parked]:
        """Returns the parked keys of a build, in order of key and partition."""
        found = await asyncio.gather(
            *[self._parked.read(build_id, partition) for partition in range(self._partitions)]
        )
        return sorted(parked for one in found for parked in one.entries)
