"""Makes or checks a keyspace; promise: processes that start at once end with one whole schema."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from eventspine.storage.cassandra.failures import StatementRefusedError
from eventspine.storage.cassandra.migrations import (
    MIGRATIONS,
    Migration,
    keyspace_cql,
    record,
    records_table,
    table_names,
    within,
)
from eventspine.storage.cassandra.replication import check_replication, new_replication
from eventspine.storage.cassandra.schema_lock import alone, insist, once_visible, renew
from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.errors import (
    OutcomeUnknownError,
    StackSetupError,
    StoreUnavailableError,
)
from eventspine.storage.stack import StackSettings

_AGREE_SECONDS = 150
"""How long nodes may take to agree on a schema; less than the lock holds."""

_NAME = re.compile(r"[a-zA-Z]\w{0,47}", re.ASCII)


async def prepare_schema(session: CassandraSession, settings: StackSettings) -> dict[str, int]:
    """Makes what is missing of a keyspace, or says what is; returns its replicas by datacenter.

    Raises:
        StackSetupError: Something is missing and `create_schema` is not set, or this program may
            not make it; or the keyspace is of a newer program or has another replication than
            was asked for.
        StoreUnavailableError: Cassandra cannot answer at the moment.
    """
    keyspace = settings.keyspace
    if not _NAME.fullmatch(keyspace):
        raise StackSetupError(
            f"keyspace {keyspace!r} is not a name: up to 48 letters, digits and _, a letter first"
        )
    replication = await _keyspace(session, settings)
    await session.route()
    pending = _pending(await _applied(session), keyspace)
    if pending:
        _require_creation(settings, f"lacks {', '.join(m.name for m in pending)}")
        await _define(session, records_table(keyspace))
        await _migrate(session)
    missing = await _missing(session)
    if missing:
        raise StackSetupError(
            f"keyspace {keyspace} lacks the tables {', '.join(sorted(missing))}, which its"
            " migrations have made; restore them, or use a new keyspace"
        )
    return replication


async def _keyspace(session: CassandraSession, settings: StackSettings) -> dict[str, int]:
    """Checks the keyspace, or makes it; returns its replicas by datacenter."""
    rows = await session.read(
        "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?",
        (settings.keyspace,),
    )
    if rows:
        return check_replication(rows[0][0], settings, session.nodes)
    _require_creation(settings, "does not exist")
    replication = new_replication(settings, session.nodes)
    await _define(session, keyspace_cql(settings.keyspace, replication))
    return replication


def _require_creation(settings: StackSettings, lack: str) -> None:
    if not settings.create_schema:
        raise StackSetupError(
            f"keyspace {settings.keyspace} {lack}; apply the output of `eventspine schema`, or set"
            " create_schema"
        )


async def _applied(session: CassandraSession) -> dict[int, str]:
    """Returns the checksums of the migrations that are done, by number."""
    if "migrations" not in await _tables(session):
        return {}
    cql = f"SELECT number, checksum FROM {session.table('migrations')}"
    rows = await once_visible(partial(session.read, cql))
    return {number: checksum for number, checksum in rows if number > 0}


async def _missing(session: CassandraSession) -> set[str]:
    """Returns the tables that are not there, whatever the node that is asked may not know yet."""
    missing = table_names() - await _tables(session)
    if missing and await session.agrees():
        missing = table_names() - await _tables(session)
    return missing


async def _tables(session: CassandraSession) -> set[str]:
    rows = await session.read(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?", (session.keyspace,)
    )
    return {name for (name,) in rows}


def _pending(applied: dict[int, str], keyspace: str) -> list[Migration]:
    """Returns the migrations that are not done.

    Raises:
        StackSetupError: Others are done than this program knows.
    """
    newest = max(applied, default=0)
    if newest > len(MIGRATIONS):
        raise StackSetupError(
            f"keyspace {keyspace} has schema {newest}, and this program knows up to"
            f" {len(MIGRATIONS)}; use a newer version of the program"
        )
    for migration in MIGRATIONS:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise StackSetupError(
                f"migration {migration.number} ({migration.name}) of keyspace {keyspace} is not the"
                " one of this program; use the version that made it, or a new keyspace"
            )
    return [migration for migration in MIGRATIONS if migration.number not in applied]


async def define_alone(
    session: CassandraSession, lacking: Callable[[], Awaitable[Sequence[str]]]
) -> None:
    """Carries out statements that change the schema, one process at a time.

    Args:
        session: Of the keyspace.
        lacking: Returns the statements whose change is not there yet.

    Raises:
        StackSetupError: This program has not the right to, or the nodes do not agree.
        StoreUnavailableError: Cassandra cannot answer at the moment.
    """
    async with alone(session, wanted=lacking) as (owner, statements):
        for statement in statements:
            await renew(session, owner)
            await _define(session, statement)


async def _migrate(session: CassandraSession) -> None:
    """Carries out what is pending, one process at a time."""

    async def pending() -> list[Migration]:
        return _pending(await _applied(session), session.keyspace)

    async with alone(session, wanted=pending) as (owner, migrations):
        for migration in migrations:
            for statement in migration.statements:
                await renew(session, owner)
                await _define(session, within(statement, session.keyspace))
            row = record(migration, session.keyspace), ()
            await insist(partial(session.write, row))


async def _define(session: CassandraSession, cql: str) -> None:
    """Carries out a statement that changes the schema, and waits for all nodes.

    Raises:
        StackSetupError: This program has not the right to, or the nodes do not agree.
    """
    end = asyncio.get_running_loop().time() + _AGREE_SECONDS
    define = partial(insist, partial(session.define, cql))
    try:
        # The node that is asked may not know the keyspace yet.
        agreed = await once_visible(define, behind=(StatementRefusedError,))
        while not agreed and asyncio.get_running_loop().time() < end:
            # A node that has missed a change asks the others for it after a minute.
            agreed = await define()
    except (StoreUnavailableError, OutcomeUnknownError) as error:
        raise StackSetupError(
            f"the schema of {session.keyspace} cannot be changed: {error}; apply the output of"
            " `eventspine schema` with a role that may, or start again"
        ) from error
    if not agreed:
        raise StackSetupError(
            "the nodes of Cassandra do not agree on the schema; look at nodetool describecluster,"
            " and start again"
        )
