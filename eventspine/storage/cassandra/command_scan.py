"""Commands of all streams, for verification and backup; promise: a scan finds each at least once.

Cassandra keeps no order over all streams, so a command's number is given by the scan that finds it,
and says only how to go on with that scan. A number that no scan of this process has ended with, as
one from an earlier backup, begins a new scan behind it, which finds all commands again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence

from eventspine.storage.cassandra.session import Row
from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.records import CommandRow, NumberedCommand

_SCANS_MAX = 8
"""How many scans can be gone on with; the one that was left longest is forgotten."""

_BUCKETS_AT_ONCE = 32


class CommandScan:
    """Scans the commands of one tenant."""

    def __init__(self, store: CassandraStore) -> None:
        """Reads from an open keyspace."""
        self._session = store.session
        self._tenant = store.tenant
        events = store.session.table("events")
        self._buckets = f"SELECT DISTINCT tenant, stream, bucket FROM {events}"
        self._rows = (
            "SELECT command_id, digest, last_version, event_count, append_time_us"
            f" FROM {events} WHERE tenant = ? AND stream = ? AND bucket = ? AND kind = 0"
        )
        self._scans: OrderedDict[int, AsyncIterator[tuple[str, CommandRow]]] = OrderedDict()

    async def commands(self, after: int, limit: int) -> list[NumberedCommand]:
        """Goes on with the scan that has ended with number `after`, or begins one behind it.

        Raises:
            StoreUnavailableError: Cassandra cannot read at the moment.
        """
        scan = self._scans.pop(after, None) if after else None
        if scan is None:
            scan = self._found()
        commands: list[NumberedCommand] = []
        async for stream, row in scan:
            commands.append(NumberedCommand(after + len(commands) + 1, stream, row))
            if len(commands) >= limit:
                break
        if commands:
            self._scans[commands[-1].number] = scan
            if len(self._scans) > _SCANS_MAX:
                self._scans.popitem(last=False)
        return commands

    async def _found(self) -> AsyncIterator[tuple[str, CommandRow]]:
        """Iterates over all commands, each with its stream, in order of the streams' tokens."""
        async for buckets in self._session.pages(self._buckets, rows_max=_BUCKETS_AT_ONCE):
            own = [bucket for bucket in buckets if bucket[0] == self._tenant]
            found = await asyncio.gather(*[self._in_bucket(bucket) for bucket in own])
            for (_, stream, _), rows in zip(own, found, strict=True):
                for row in rows:
                    yield stream, row

    async def _in_bucket(self, bucket: Row) -> Sequence[CommandRow]:
        return list(map(CommandRow._make, await self._session.read(self._rows, bucket)))
