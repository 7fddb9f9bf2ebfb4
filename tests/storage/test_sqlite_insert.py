"""Rows go into a table by few statements, all of them and in their order."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from eventspine.storage.sqlite.insert import Insert


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE things (number INTEGER PRIMARY KEY, name TEXT)")
        yield connection


@pytest.mark.parametrize("count", [0, 1, 2, 3, 127, 128, 129, 1_000])
def test_any_number_of_rows_arrives_in_order(connection: sqlite3.Connection, count: int) -> None:
    rows = [(number, f"thing {number}") for number in range(count)]
    Insert("things", ("number", "name")).run(connection, rows)
    assert connection.execute("SELECT * FROM things ORDER BY rowid").fetchall() == rows


def test_a_row_that_is_there_already_is_refused(connection: sqlite3.Connection) -> None:
    insert = Insert("things", ("number", "name"))
    with pytest.raises(sqlite3.IntegrityError):
        insert.run(connection, [(1, "one"), (2, "two"), (1, "again")])


def test_a_conflict_can_change_the_row_that_is_there(connection: sqlite3.Connection) -> None:
    insert = Insert("things", ("number", "name"), "ON CONFLICT DO UPDATE SET name = excluded.name")
    insert.run(connection, [(1, "one"), (2, "two"), (1, "again")])
    assert connection.execute("SELECT name FROM things").fetchall() == [("again",), ("two",)]
