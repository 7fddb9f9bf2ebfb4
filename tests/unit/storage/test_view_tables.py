"""The tables of views, as they are made from the rows' descriptors."""

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from bank.v1 import views_pb2 as bank
from eventspine.domain.declared import ViewDeclaration
from eventspine.domain.options import key_fields
from eventspine.storage.cassandra.view_tables import Column, ViewTable, table_of, tables_of
from eventspine.storage.errors import StackSetupError
from eventspine.storage.keys import encode_key


def declared(row: Any, partition_fields: int) -> ViewDeclaration:
    name = row.DESCRIPTOR.full_name
    return ViewDeclaration(name, row, key_fields(row.DESCRIPTOR), partition_fields, {})


def of_fields(view: str, *fields: tuple[str, int]) -> ViewDeclaration:
    """Declares a view whose key has fields of these names and types, the first one alone first."""
    found = tuple(SimpleNamespace(name=name, type=kind) for name, kind in fields)
    return ViewDeclaration(view, bank.AccountBalance, found, 1, {})  # type: ignore[arg-type]


def test_the_key_of_a_row_is_the_key_of_its_table() -> None:
    table = table_of(declared(bank.StatementLine, 1))
    assert table.name == "rows_bank_v1_statement_line"
    assert table.columns == (Column("account_id", "text"), Column("stream_version", "varint"))
    words = " ".join(table.cql.split())
    assert "CREATE TABLE IF NOT EXISTS {keyspace}.rows_bank_v1_statement_line (" in words
    assert 'PRIMARY KEY ((tenant, build, "account_id"), "stream_version", log_partition)' in words
    assert words.endswith("WITH comment = 'rows of view bank.v1.StatementLine'")


def test_every_type_of_a_key_has_a_column_type_that_sorts_alike() -> None:
    kinds = {
        "text": [FieldDescriptor.TYPE_STRING],
        "blob": [FieldDescriptor.TYPE_BYTES],
        "boolean": [FieldDescriptor.TYPE_BOOL],
        "int": [FieldDescriptor.TYPE_ENUM, FieldDescriptor.TYPE_INT32],
        "bigint": [FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_SINT64],
        "varint": [FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64],
    }
    for kind, types in kinds.items():
        for number in types:
            assert table_of(of_fields("a.v1.B", ("f", number))).columns == (Column("f", kind),)


def test_a_field_called_like_a_column_of_ours_has_one_of_its_own() -> None:
    text = FieldDescriptor.TYPE_STRING
    fields = [("build", text), ("build_", text), ("sequence", text), ("view", text)]
    columns = table_of(of_fields("a.v1.B", *fields)).columns
    assert [column.name for column in columns] == ["build_", "build__", "sequence_", "view"]


def test_a_long_name_is_cut_and_stays_different_from_others() -> None:
    names = {ViewTable(f"a.very.long.package.name.v1.{end}" * 2, (), 0).name for end in "AB"}
    assert len(names) == 2
    assert {len(name) for name in names} == {48}


def test_two_views_of_one_table_name_are_refused() -> None:
    text = FieldDescriptor.TYPE_STRING
    views = [of_fields("a.v1.BC", ("f", text)), of_fields("a.v1.Bc", ("f", text))]
    with pytest.raises(StackSetupError, match=r"a.v1.BC and a.v1.Bc would share .* rename one"):
        tables_of(views)


def test_a_key_is_split_into_what_chooses_the_partition_and_what_orders_its_rows() -> None:
    table = table_of(declared(bank.StatementLine, 1))
    key = encode_key(("ann", 7))
    assert table.split(key) == (("ann",), (7,))
    assert table.split(encode_key(("ann",))) == (("ann",), ())
    assert table.split(b"") == ((), ())
    assert table.partition_key(key) == encode_key(("ann",))
