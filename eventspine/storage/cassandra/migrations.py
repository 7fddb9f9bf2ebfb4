"""What has to be in a keyspace, step by step; promise: a step that was released never changes.

Each store has a module of its own with its tables; here they are put in order. A change to a table
is a new migration with ALTER statements.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID, uuid5

from eventspine.storage.cassandra.event_tables import EVENT_TABLES, RESTORING, STORE_TABLES
from eventspine.storage.cassandra.hint_tables import HINT_TABLES
from eventspine.storage.cassandra.log_tables import LOG_TABLES
from eventspine.storage.cassandra.view_tables import VIEW_TABLES

_NAMESPACE = UUID("6f1c2a64-3f0e-5d1b-9f2b-0d6f3c1e7a55")


class Migration(NamedTuple):
    """A step of the schema.

    Attributes:
        number: From 1, without gaps.
        statements: CQL, with `{keyspace}` before each table's name. Each may be carried out twice.
    """

    number: int
    name: str
    statements: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """A hash of the statements, whatever their white space, in hexadecimal digits."""
        words = ";".join(" ".join(statement.split()) for statement in self.statements)
        return sha256(words.encode()).hexdigest()


MIGRATIONS = (
    Migration(1, "store", STORE_TABLES),
    Migration(2, "events", EVENT_TABLES),
    Migration(3, "log", LOG_TABLES),
    Migration(4, "views", VIEW_TABLES),
    Migration(5, "hints", HINT_TABLES),
    Migration(6, "restoring", RESTORING),
)
"""All of them, in order. A new one is put behind the last."""

_RECORDS_TABLE = """CREATE TABLE IF NOT EXISTS {keyspace}.migrations (
        number int PRIMARY KEY,
        name text,
        checksum text,
        applied_time timestamp,
        owner text
    )"""

_RECORD = """INSERT INTO {keyspace}.migrations (number, name, checksum, applied_time)
    VALUES (%d, '%s', '%s', toTimestamp(now()))"""

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS \{keyspace\}\.(\w+)")


def table_names() -> set[str]:
    """Returns the names of all tables that the migrations make."""
    return {
        found[1]
        for migration in MIGRATIONS
        for statement in migration.statements
        if (found := _TABLE.match(statement))
    }


def records_table(keyspace: str) -> str:
    """Returns the CQL that makes the table `migrations`.

    Its id is derived from the keyspace's name: two processes that make it at the same moment, by
    two nodes, make the same table. All other tables are made under a lock in this one.
    """
    return f"{within(_RECORDS_TABLE, keyspace)} WITH ID = {uuid5(_NAMESPACE, keyspace)}"


def record(migration: Migration, keyspace: str) -> str:
    """Returns the CQL that records a migration as done."""
    return within(_RECORD % (migration.number, migration.name, migration.checksum), keyspace)


def keyspace_cql(keyspace: str, replication: Mapping[str, int]) -> str:
    """Returns the CQL that makes the keyspace, with so many replicas in each datacenter."""
    factors = "".join(f", '{name}': {count}" for name, count in sorted(replication.items()))
    return within(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication ="
        f" {{'class': 'NetworkTopologyStrategy'{factors}}}",
        keyspace,
    )


def within(statement: str, keyspace: str) -> str:
    """Puts a keyspace's name into a statement."""
    return statement.replace("{keyspace}", f'"{keyspace}"')


def script(keyspace: str, replication: Mapping[str, int], tables: Iterable[str]) -> str:
    """Returns the whole CQL, for operators who make the keyspace themselves.

    Args:
        keyspace: Its name.
        replication: How many replicas in each datacenter.
        tables: CQL of more tables, those of views, with `{keyspace}` before each table's name.
    """
    statements = [keyspace_cql(keyspace, replication), records_table(keyspace)]
    for migration in MIGRATIONS:
        statements += [within(statement, keyspace) for statement in migration.statements]
        statements.append(record(migration, keyspace))
    statements += [within(table, keyspace) for table in tables]
    return "".join(f"{statement};\n\n" for statement in statements)
