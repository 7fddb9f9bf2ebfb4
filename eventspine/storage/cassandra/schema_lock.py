"""One process at a time changes a schema; promise: none waits for one that is done, or dead."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from eventspine.storage.cassandra.failures import StatementRefusedError
from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.errors import (
    OutcomeUnknownError,
    StackSetupError,
    StoreUnavailableError,
)

_LOCK_SECONDS = 180
"""How long the lock outlives a process that died; longer than one statement may take."""

_INSIST_SECONDS = 60
"""How long a change of unknown outcome is made again; a good deal less than the lock holds."""

_VISIBLE_SECONDS = 30

_POLL_SECONDS = 0.3

_Answer = TypeVar("_Answer")

_Change = TypeVar("_Change")


class Changes(NamedTuple, Generic[_Change]):
    """What one process is to change of the schema, alone.

    Attributes:
        owner: The name that the lock is under.
        wanted: The changes; none where others have made them, and then the lock may not be held.
    """

    owner: str
    wanted: Sequence[_Change]


@asynccontextmanager
async def alone(
    session: CassandraSession, *, wanted: Callable[[], Awaitable[Sequence[_Change]]]
) -> AsyncIterator[Changes[_Change]]:
    """Keeps other processes from changing the schema; yields what is to be changed.

    Args:
        session: A session of the keyspace, which has the table `migrations`.
        wanted: Returns what there is to change still; once there is nothing, this neither waits
            for the lock nor takes it. A node that is behind may miss what another one has.

    Raises:
        StackSetupError: Another one kept the lock for too long.
        StoreUnavailableError: Cassandra cannot answer at the moment.
    """
    owner = secrets.token_hex(8)
    if not await _lock(session, owner, wanted):
        yield Changes(owner, ())
        return
    try:
        yield Changes(owner, await wanted())
    except OutcomeUnknownError as error:
        raise StoreUnavailableError("the schema could not be recorded; start again") from error
    finally:
        await _unlock(session, owner)


async def _lock(
    session: CassandraSession, owner: str, wanted: Callable[[], Awaitable[Sequence[object]]]
) -> bool:
    """Takes the lock, and returns whether it did: not where nothing is wanted any more."""
    cql = (
        f"INSERT INTO {session.table('migrations')} (number, owner) VALUES (0, ?)"
        f" IF NOT EXISTS USING TTL {_LOCK_SECONDS}"
    )
    end = asyncio.get_running_loop().time() + 2 * _LOCK_SECONDS
    while asyncio.get_running_loop().time() < end:
        if not await wanted():
            return False
        try:
            verdict = await once_visible(partial(session.decide, (cql, (owner,))))
        except OutcomeUnknownError:
            continue
        # It may be ours by a sending whose answer was lost.
        if verdict.applied or verdict.rows[0]["owner"] == owner:
            return True
        await asyncio.sleep(_POLL_SECONDS)
    raise StackSetupError(
        f"another process has been changing the schema of {session.keyspace} for"
        f" {2 * _LOCK_SECONDS} s; look at its log, and start again"
    )


async def renew(session: CassandraSession, owner: str) -> None:
    """Keeps the lock for as long again.

    Raises:
        StackSetupError: It was lost.
        OutcomeUnknownError: It may have been lost.
    """
    cql = (
        f"UPDATE {session.table('migrations')} USING TTL {_LOCK_SECONDS}"
        " SET owner = ? WHERE number = 0 IF owner = ?"
    )
    verdict = await insist(partial(session.decide, (cql, (owner, owner))))
    if not verdict.applied:
        raise StackSetupError(
            f"this process was too slow changing the schema of {session.keyspace}; start again"
        )


async def _unlock(session: CassandraSession, owner: str) -> None:
    cql = f"DELETE FROM {session.table('migrations')} WHERE number = 0 IF owner = ?"
    # Without, it expires.
    with suppress(OutcomeUnknownError, StoreUnavailableError):
        await insist(partial(session.decide, (cql, (owner,))))


async def insist(change: Callable[[], Awaitable[_Answer]]) -> _Answer:
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


async def once_visible(
    ask: Callable[[], Awaitable[_Answer]],
    *,
    behind: tuple[type[Exception], ...] = (StatementRefusedError, StoreUnavailableError),
) -> _Answer:
    """Asks about what another process may be making, until the node that is asked knows it.

    A node lists a table a little before it knows it, and may fail in its own words in between. One
    that has just started may be behind the others for seconds, and not even counts for the driver
    when they agree: it passes over nodes whose version of the schema nobody knows yet.

    Args:
        ask: Asks; it may be asked again.
        behind: The errors of a node that may be behind.

    Raises:
        StatementRefusedError: The node did not come to know it.
        StoreUnavailableError: Cassandra could not answer, for as long if that is in `behind`.
    """
    end = asyncio.get_running_loop().time() + _VISIBLE_SECONDS
    while True:
        try:
            return await ask()
        except behind:
            if asyncio.get_running_loop().time() > end:
                raise
            await asyncio.sleep(_POLL_SECONDS)
