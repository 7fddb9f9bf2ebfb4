"""Makes or checks the tables of declared views; promise: none holds rows of another key or view."""

import asyncio
from collections.abc import Iterable, Sequence

from eventspine.storage.cassandra.migrations import within
from eventspine.storage.cassandra.schema import define_alone
from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.cassandra.view_tables import ViewTable
from eventspine.storage.errors import StackSetupError

_COMMENT = "SELECT comment FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?"
_COLUMNS = """SELECT column_name, kind, position, type FROM system_schema.columns
    WHERE keyspace_name = ? AND table_name = ?"""

Columns = list[tuple[str, str]]
"""Names and types of the columns of a primary key, in order."""


async def prepare_view_tables(
    session: CassandraSession, tables: Iterable[ViewTable], *, create: bool
) -> None:
    """Makes the tables that are missing, or says which are.

    Args:
        session: Of the keyspace, whose other tables are there.
        tables: The tables of the declared views.
        create: Whether to make what is missing.

    Raises:
        StackSetupError: A table is missing and is not to be made or may not be; or one that is
            there has another key, or rows of another view.
        StoreUnavailableError: Cassandra cannot answer at the moment.
    """
    wanted = list(tables)
    missing = await _missing(session, wanted)
    if not missing:
        return
    if not create:
        names = ", ".join(f"{table.name} ({table.comment})" for table in missing)
        raise StackSetupError(
            f"keyspace {session.keyspace} lacks the tables {names}; apply the output of"
            " `eventspine schema`, or set create_schema"
        )

    async def lacking() -> list[str]:
        # Another program may have been quicker, with other declarations.
        tables = await _missing(session, wanted)
        return [within(table.cql, session.keyspace) for table in tables]

    await define_alone(session, lacking)
    # A node that was behind may have said that a table of another program was missing.
    await _missing(session, missing)


async def _missing(session: CassandraSession, wanted: Sequence[ViewTable]) -> list[ViewTable]:
    found = await asyncio.gather(*[_check(session, table) for table in wanted])
    return [table for table, there in zip(wanted, found, strict=True) if not there]


async def _check(session: CassandraSession, table: ViewTable) -> bool:
    """Returns whether a table is there, for all nodes that were asked.

    Raises:
        StackSetupError: It is there, and is not the one that is wanted.
    """
    values = (session.keyspace, table.name)
    comments = await session.read(_COMMENT, values)
    if not comments:
        return False
    if comments[0][0] != table.comment:
        raise StackSetupError(
            f"the table {table.name} of keyspace {session.keyspace} has the comment"
            f" {comments[0][0]!r} and not {table.comment!r}; rename the row message, or another"
            " view's rows would be mixed with its own"
        )
    own = [(column.name, column.type) for column in table.columns]
    wanted = [("tenant", "text"), ("build", "int"), *own, ("log_partition", "int")]
    columns = await session.read(_COLUMNS, values)
    if not columns:
        # Another process is making it, and this node, another than before, does not know it yet.
        return False
    there = _key(columns)
    if there != (wanted, len(table.partition) + 2):
        raise StackSetupError(
            f"the table {table.name} of keyspace {session.keyspace} has the key"
            f" ({_words(there[0])}), and view {table.view} needs ({_words(wanted)}); a view keeps"
            " its key: give a row with another one a new name"
        )
    return True


def _key(rows: Sequence[tuple[str, str, int, str]]) -> tuple[Columns, int]:
    """Returns the primary key of a table, and how many of its columns choose the partition."""
    kinds = ("partition_key", "clustering")
    columns = sorted(
        (kinds.index(kind), at, name, t) for name, kind, at, t in rows if kind in kinds
    )
    partition = sum(1 for kind, *_ in columns if kind == 0)
    return [(name, kind) for _, _, name, kind in columns], partition


def _words(columns: Columns) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns)
