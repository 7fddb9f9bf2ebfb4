"""The tables of views; promise: key columns have the types of the row message's fields.

What all views share stands in tables of its own. Each view has one more table with its rows, made
from the row's descriptor; all builds of the view are in it.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from eventspine.domain.declared import ViewDeclaration
from eventspine.domain.view import Key
from eventspine.storage.errors import StackSetupError
from eventspine.storage.keys import decode_key, encode_key

SHARDS = 16
"""Over how many Cassandra partitions the index of a build's partition keys is spread."""

VIEW_TABLES = (
    # The builds of each view as JSON. Written by conditional statements only.
    """CREATE TABLE IF NOT EXISTS {keyspace}.view_builds (
        tenant text,
        name text,
        revision bigint,
        builds text,
        change blob,
        PRIMARY KEY (tenant, name)
    )""",
    # How far a build has come in each log partition. Written with the sequence as timestamp: it
    # only ever grows, whoever comes late. `dropped`: nothing may be saved to the build any more.
    """CREATE TABLE IF NOT EXISTS {keyspace}.view_progress (
        tenant text,
        build text,
        dropped boolean static,
        partition int,
        sequence bigint,
        PRIMARY KEY ((tenant, build), partition)
    )""",
    # The parked keys of a build in one log partition. Written by conditional batches only, which
    # count `revision` up and leave their own name in `change`.
    """CREATE TABLE IF NOT EXISTS {keyspace}.view_parked (
        tenant text,
        build text,
        partition int,
        revision bigint static,
        change blob static,
        key blob,
        sequence bigint,
        stream text,
        stream_version bigint,
        error text,
        waiting frozen<list<bigint>>,
        parked_time_us bigint,
        PRIMARY KEY ((tenant, build, partition), key)
    )""",
    # The partition keys of a build, encoded so that they sort as their values do; shard = crc32 of
    # the encoded key. An entry is there before the progress says that its row is.
    """CREATE TABLE IF NOT EXISTS {keyspace}.view_keys (
        tenant text,
        build text,
        shard int,
        key blob,
        PRIMARY KEY ((tenant, build, shard), key)
    )""",
)
"""What all views share: builds, progress, parked keys, and an index of partition keys."""

_NAME_MAX = 48
_TYPES = {
    FieldDescriptor.TYPE_STRING: "text",
    FieldDescriptor.TYPE_BYTES: "blob",
    FieldDescriptor.TYPE_BOOL: "boolean",
    FieldDescriptor.TYPE_ENUM: "int",
    FieldDescriptor.TYPE_INT32: "int",
    FieldDescriptor.TYPE_SINT32: "int",
    FieldDescriptor.TYPE_SFIXED32: "int",
    FieldDescriptor.TYPE_UINT32: "bigint",
    FieldDescriptor.TYPE_FIXED32: "bigint",
    FieldDescriptor.TYPE_INT64: "bigint",
    FieldDescriptor.TYPE_SINT64: "bigint",
    FieldDescriptor.TYPE_SFIXED64: "bigint",
    # Half of their values are above what a bigint holds.
    FieldDescriptor.TYPE_UINT64: "varint",
    FieldDescriptor.TYPE_FIXED64: "varint",
}
_OWN_COLUMNS = ("tenant", "build", "log_partition", "sequence", "encoded")


class Column(NamedTuple):
    """A key column: its name, which is that of the field where it can be, and its CQL type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class ViewTable:
    """The table with the rows of one view.

    Attributes:
        view: The view.
        columns: Its key columns: those of `partition_by`, then those of `order_by`.
        partition_columns: How many of them are of `partition_by`.
    """

    view: str
    columns: tuple[Column, ...]
    partition_columns: int

    @property
    def name(self) -> str:
        """The table's name, at most 48 characters, as Cassandra allows."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.view.replace(".", "_"))
        name = f"rows_{words.lower()}"
        if len(name) <= _NAME_MAX:
            return name
        return f"{name[: _NAME_MAX - 9]}_{hashlib.sha256(self.view.encode()).hexdigest()[:8]}"

    @property
    def comment(self) -> str:
        """What the table says of itself: whose rows it holds."""
        return f"rows of view {self.view}"

    @property
    def partition(self) -> tuple[Column, ...]:
        """The key columns that choose the Cassandra partition, beside tenant and build."""
        return self.columns[: self.partition_columns]

    @property
    def order(self) -> tuple[Column, ...]:
        """The key columns that order the rows inside of a Cassandra partition."""
        return self.columns[self.partition_columns :]

    @property
    def cql(self) -> str:
        """The statement that makes the table, with `{keyspace}` before its name."""
        own = [f'"{name}" {kind}' for name, kind in self.columns]
        columns = ["tenant text", "build int", *own, "log_partition int", "sequence bigint"]
        listed = ",\n        ".join([*columns, "encoded blob"])
        partition = ", ".join(["tenant", "build", *[f'"{one.name}"' for one in self.partition]])
        key = ", ".join([f"({partition})", *[f'"{one.name}"' for one in self.order]])
        return (
            f"CREATE TABLE IF NOT EXISTS {{keyspace}}.{self.name} (\n        {listed},\n"
            f"        PRIMARY KEY ({key}, log_partition)\n    ) WITH comment = '{self.comment}'"
        )

    def split(self, key: bytes) -> tuple[Key, Key]:
        """Returns the key values of `partition_by` and those of `order_by`; fewer for a prefix."""
        values = decode_key(key)
        return values[: self.partition_columns], values[self.partition_columns :]

    def partition_key(self, key: bytes) -> bytes:
        """Returns the encoded partition key that stands at the beginning of a key."""
        return key if not self.order else encode_key(self.split(key)[0])


def table_of(declaration: ViewDeclaration) -> ViewTable:
    """Returns the table of a declared view."""
    taken = set(_OWN_COLUMNS)
    columns: list[Column] = []
    for field in declaration.key_fields:
        name = field.name
        while name in taken:
            name += "_"
        taken.add(name)
        columns.append(Column(name, _TYPES[field.type]))
    return ViewTable(declaration.name, tuple(columns), declaration.partition_field_count)


def tables_of(declarations: Iterable[ViewDeclaration]) -> dict[str, ViewTable]:
    """Returns the tables of declared views, by view.

    Raises:
        StackSetupError: Two of them would have the same name.
    """
    tables = {declaration.name: table_of(declaration) for declaration in declarations}
    by_name: dict[str, str] = {}
    for view, table in tables.items():
        other = by_name.setdefault(table.name, view)
        if other != view:
            raise StackSetupError(
                f"the views {other} and {view} would share the table {table.name}; rename one of"
                " the row messages"
            )
    return tables
