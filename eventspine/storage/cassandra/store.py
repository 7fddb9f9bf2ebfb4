"""What is fixed of a keyspace; promise: no process works on it with other numbers than its first.

Its id, how many log partitions it has, how long a stream's Cassandra partitions are, and at which
consistency it is written are decided once, by the first process, in one conditional write. To those
who call, each tenant is a store of its own, with an id that follows from the keyspace's: the
sequences of one say nothing of another's. A tenant whose events were restored has a new id from
then on, and ancestors; its neighbours in the keyspace go on as before.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import NamedTuple

from eventspine.storage.cassandra.durability import read_durability
from eventspine.storage.cassandra.failures import StatementRefusedError
from eventspine.storage.cassandra.schema import prepare_schema
from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.errors import StackSetupError, StoreUnavailableError
from eventspine.storage.identity import StoreIdentity
from eventspine.storage.stack import (
    DEFAULT_TENANT,
    EVENTS_PER_BUCKET,
    LOG_PARTITIONS,
    StackSettings,
)

_ONLY = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class CassandraStore:
    """An open keyspace whose schema is complete.

    Attributes:
        session: For the statements of its stores.
        partitions: How many log partitions it has.
        events_per_bucket: How many events of a stream stand in one Cassandra partition.
    """

    session: CassandraSession
    tenant: str
    partitions: int
    events_per_bucket: int
    identity: StoreIdentity

    @classmethod
    async def open(cls, settings: StackSettings, *, restoring: bool = False) -> "CassandraStore":
        """Connects, and makes or checks the keyspace.

        Args:
            settings: Which one, and how to reach it.
            restoring: Whether it may be one that is being restored; nothing else may use that.

        Raises:
            StackSetupError: Cassandra cannot be reached, or the keyspace is not as it is set up;
                see `CassandraSession.open` and `prepare_schema`.
            StoreUnavailableError: Cassandra cannot answer at the moment.
        """
        session = await CassandraSession.open(settings)
        try:
            replication = await prepare_schema(session, settings)
            durability = await read_durability(session, settings.consistency, replication)
            row = await _fixed(session, settings)
            state = await _state(session, settings.tenant)
            if state.restoring and not restoring:
                raise StackSetupError(
                    f"{tenant_words(settings.tenant)} in keyspace {settings.keyspace} is being"
                    " restored; start again when that is done, or restore the same backup again"
                    " where it was cut off"
                )
            return cls(
                session=session,
                tenant=settings.tenant,
                partitions=row.partitions,
                events_per_bucket=row.events_per_bucket,
                identity=StoreIdentity(
                    backend="cassandra",
                    location=f"{','.join(settings.contact_points)}/{settings.keyspace}",
                    durability=durability.words,
                    weaknesses=durability.weaknesses,
                    store_id=state.store_id,
                    ancestors=await _ancestors(session, settings.tenant),
                ),
            )
        except BaseException:
            await session.close()
            raise

    async def is_current(self) -> bool:
        """Tells whether the store is still the one that was opened, as far as anybody can tell.

        It is another one after a restore, also into a keyspace of the same name.
        """
        try:
            state = await _state(self.session, self.tenant)
        except (StoreUnavailableError, StatementRefusedError):
            return True
        return state.store_id in ("", self.identity.store_id) and not state.restoring

    async def close(self) -> None:
        """Closes the connections. Calling it again is harmless."""
        await self.session.close()


def tenant_row(tenant: str) -> str:
    """Returns the name of the row that says what was restored for a tenant, if anything was."""
    return f"tenant/{tenant}"


def tenant_words(tenant: str) -> str:
    """Names a tenant to people."""
    return f"tenant {tenant or DEFAULT_TENANT}"


@dataclass(frozen=True, slots=True)
class _Fixed:
    partitions: int
    events_per_bucket: int
    consistency: str


class _State(NamedTuple):
    """The store of a tenant: its id, empty where there is none, and whether it is all there."""

    store_id: str
    restoring: bool


async def _state(session: CassandraSession, tenant: str) -> _State:
    cql = f"SELECT only, store_id, restoring FROM {session.table('store')} WHERE only IN (?, ?)"
    own = tenant_row(tenant)
    rows = {only: rest for only, *rest in await session.read(cql, (_ONLY, own))}
    if own in rows:
        store_id, restoring = rows[own]
        return _State(store_id, bool(restoring))
    return _State(_derived(rows[_ONLY][0], tenant) if _ONLY in rows else "", False)


def _derived(keyspace_id: str, tenant: str) -> str:
    """Returns the store id of a tenant that was not restored: no two tenants have the same."""
    return hashlib.sha256(f"{keyspace_id}/{tenant}".encode()).hexdigest()[: len(keyspace_id)]


async def _fixed(session: CassandraSession, settings: StackSettings) -> _Fixed:
    """Reads the store's row, or writes it; the first process decides."""
    cql = (
        "SELECT log_partitions, events_per_bucket, consistency"
        f" FROM {session.table('store')} WHERE only = ?"
    )
    rows = await session.read(cql, (_ONLY,))
    if not rows:
        await _fix(session, settings)
        rows = await session.read(cql, (_ONLY,))
    found = _Fixed(*rows[0])
    _compare(settings, "partitions", settings.partitions, found.partitions)
    _compare(settings, "events_per_bucket", settings.events_per_bucket, found.events_per_bucket)
    _compare(settings, "consistency", _consistency(settings), found.consistency)
    return found


async def _fix(session: CassandraSession, settings: StackSettings) -> None:
    cql = (
        f"INSERT INTO {session.table('store')}"
        " (only, store_id, log_partitions, events_per_bucket, consistency)"
        " VALUES (?, ?, ?, ?, ?) IF NOT EXISTS"
    )
    values = (
        _ONLY,
        secrets.token_hex(16),
        settings.partitions or LOG_PARTITIONS,
        settings.events_per_bucket or EVENTS_PER_BUCKET,
        _consistency(settings),
    )
    await session.decide((cql, values))


def _consistency(settings: StackSettings) -> str:
    """Returns what all writers must share: conditions of two kinds do not see each other."""
    if settings.consistency == "LOCAL_QUORUM" and settings.local_datacenter:
        return f"LOCAL_QUORUM in {settings.local_datacenter}"
    return settings.consistency


def _compare(settings: StackSettings, name: str, wanted: object, found: object) -> None:
    if wanted is not None and wanted != found:
        raise StackSetupError(
            f"keyspace {settings.keyspace} was made with {name} {found}, and the settings say"
            f" {wanted}; correct {name}, or use a new keyspace"
        )


async def _ancestors(session: CassandraSession, tenant: str) -> dict[str, tuple[int, ...]]:
    cql = f"SELECT store_id, ends FROM {session.table('ancestors')} WHERE only = ?"
    rows = await session.read(cql, (tenant_row(tenant),))
    return {store_id: tuple(ends) for store_id, ends in rows}
