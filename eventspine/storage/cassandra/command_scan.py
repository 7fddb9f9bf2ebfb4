"""Commands of all streams, for verification and backup; promise: a scan finds each at least once.

Cassandra keeps no order over all streams, so a command's number is given by the scan that finds it,
and says only how to go on with that scan. A number that no scan of this process has ended with, as
one from an earlier backup, begins a new scan behind it, which finds all commands again.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator

from eventspine.storage.cassandra.store import CassandraStore
from eventspine.storage.records import CommandRow, NumberedCommand

_SCANS_MAX = 8
"""How many scans can be gone on with; the one that was left longest is forgotten."""

_PAGE_ROWS = 2_000


class CommandScan:
    """Scans the commands of one tenant."""

    def __init__(self, store: CassandraStore) -> None:
        """Reads from an open keyspace."""
        self._session = store.session
        self._tenant = store.tenant
        # `kind` stands first in each partition, so events are passed over by their place alone.
        self._rows = (
            "SELECT tenant, stream, command_id, digest, last_version, event_count, append_time_us"
            f" FROM {store.session.table('events')} WHERE kind = 0 ALLOW FILTERING"
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
        async for rows in self._session.pages(self._rows, rows_max=_PAGE_ROWS):
            for tenant, stream, *row in rows:
                if tenant == self._tenant:
                    yield stream, CommandRow._make(row)
