"""Makes or checks a keyspace; promise: processes that start at once end with one whole schema."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

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
from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.errors import (
    OutcomeUnknownError,
    StackSetupError,
    StoreUnavailableError,
)
from eventspine.storage.stack import StackSettings

_LOCK_SECONDS = 180
"""How long the lock outlives a process that died; longer than one statement may take."""

_INSIST_SECONDS = 60
"""How long a change of unknown outcome is made again; a good deal less than the lock holds."""

_AGREE_SECONDS = 150
"""How long nodes may take to agree on a schema; less than the lock holds."""

_VISIBLE_SECONDS = 20

_POLL_SECONDS = 0.3

_Answer = TypeVar("_Answer")

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
    missing = table_names() - await _tables(session)
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
    end = asyncio.get_running_loop().time() + _VISIBLE_SECONDS
    while True:
        try:
            return {number: checksum for number, checksum in await session.read(cql) if number > 0}
        except (StatementRefusedError, StoreUnavailableError):
            # Another process is making it: a node lists a table a little before it knows it, and
            # in between it may fail in its own words.
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(_POLL_SECONDS)


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


async def define_alone(session: CassandraSession, statements: Sequence[str]) -> None:
    """Carries out statements that change the schema, one process at a time.

    Raises:
        StackSetupError: This program has not the right to, or the nodes do not agree.
        StoreUnavailableError: Cassandra cannot answer at the moment.
    """
    async with _alone(session) as owner:
        for statement in statements:
            await _renew(session, owner)
            await _define(session, statement)


async def _migrate(session: CassandraSession) -> None:
    """Carries out what is pending, one process at a time."""
    async with _alone(session) as owner:
        for migration in _pending(await _applied(session), session.keyspace):
            for statement in migration.statements:
                await _renew(session, owner)
                await _define(session, within(statement, session.keyspace))
            row = record(migration, session.keyspace), ()
            await _insist(partial(session.write, row))


@asynccontextmanager
async def _alone(session: CassandraSession) -> AsyncIterator[str]:
    """Keeps other processes from changing the schema; yields the name that the lock is under."""
    owner = secrets.token_hex(8)
    await _lock(session, owner)
    try:
        yield owner
    except OutcomeUnknownError as error:
        raise StoreUnavailableError("the schema could not be recorded; start again") from error
    finally:
        await _unlock(session, owner)


async def _lock(session: CassandraSession, owner: str) -> None:
    """Waits until this process alone may change the schema.

    Raises:
        StackSetupError: Another one kept the lock for too long.
    """
    cql = (
        f"INSERT INTO {session.table('migrations')} (number, owner) VALUES (0, ?)"
        f" IF NOT EXISTS USING TTL {_LOCK_SECONDS}"
    )
    end = asyncio.get_running_loop().time() + 2 * _LOCK_SECONDS
    while asyncio.get_running_loop().time() < end:
        try:
            verdict = await session.decide((cql, (owner,)))
        except OutcomeUnknownError:
            continue
        # It may be ours by a sending whose answer was lost.
        if verdict.applied or verdict.rows[0]["owner"] == owner:
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise StackSetupError(
        f"another process has been changing the schema of {session.keyspace} for"
        f" {2 * _LOCK_SECONDS} s; look at its log, and start again"
    )


async def _renew(session: CassandraSession, owner: str) -> None:
    cql = (
        f"UPDATE {session.table('migrations')} USING TTL {_LOCK_SECONDS}"
        " SET owner = ? WHERE number = 0 IF owner = ?"
    )
    verdict = await _insist(partial(session.decide, (cql, (owner, owner))))
    if not verdict.applied:
        raise StackSetupError(
            f"this process was too slow changing the schema of {session.keyspace}; start again"
        )


async def _insist(change: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Makes a change that may be made twice, again as long as nobody knows whether it was made.

    Nodes that have just started, all at once, may be too slow for a while.

    Raises:
        OutcomeUnknownError: It was not answered in time.
        StoreUnavailableError: It was not made.
    """
    end = asyncio.get_running_loop().time() + _INSIST_SECONDS
    while True:
        try:
            return await change()
        except OutcomeUnknownError:
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(_POLL_SECONDS)


async def _unlock(session: CassandraSession, owner: str) -> None:
    cql = f"DELETE FROM {session.table('migrations')} WHERE number = 0 IF owner = ?"
    # Without, it expires.
    with suppress(OutcomeUnknownError, StoreUnavailableError):
        await session.decide((cql, (owner,)))


async def _define(session: CassandraSession, cql: str) -> None:
    """Carries out a statement that changes the schema, and waits for all nodes.

    Raises:
        StackSetupError: This program has not the right to, or the nodes do not agree.
    """
    end = asyncio.get_running_loop().time() + _AGREE_SECONDS
    try:
        agreed = await _insist(partial(session.define, cql))
        while not agreed and asyncio.get_running_loop().time() < end:
            # A node that has missed a change asks the others for it after a minute.
            agreed = await _insist(partial(session.define, cql))
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
