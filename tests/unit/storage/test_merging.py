"""One row out of the partials of the log partitions."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import Int64Value

from eventspine.domain.declared import ViewDeclaration
from eventspine.domain.errors import DomainDefectError
from eventspine.domain.view import View
from eventspine.storage.merging import merged
from eventspine.storage.records import PartialRow

Merge = Callable[[Sequence[Any]], Any]


def summed(rows: Sequence[Int64Value]) -> Int64Value:
    return Int64Value(value=sum(row.value for row in rows))


def greatest(rows: Sequence[Int64Value]) -> Int64Value:
    return Int64Value(value=max(row.value for row in rows))


def failing(rows: Sequence[Int64Value]) -> Int64Value:
    raise ArithmeticError("no sum")


def declared(**merges: Merge | None) -> ViewDeclaration:
    """A view with a version of its code for each argument, in order from 1."""
    versions = {
        number: View(row=Int64Value, foldings={}, merge=merge, version=number)
        for number, merge in enumerate(merges.values(), 1)
    }
    return ViewDeclaration("google.protobuf.Int64Value", Int64Value, (), 0, versions)


def partial(partition: int, value: int | None) -> PartialRow:
    encoded = None if value is None else Int64Value(value=value).SerializeToString()
    return PartialRow(partition, 1, encoded)


def test_one_partial_of_a_view_without_merge_is_the_row() -> None:
    assert merged(declared(first=None), [partial(0, 7)]) == Int64Value(value=7)


def test_an_empty_encoding_is_a_row_and_no_partial_is_none() -> None:
    assert merged(declared(first=None), [partial(0, 0)]) == Int64Value()
    assert merged(declared(first=None), []) is None


def test_deleted_partials_count_as_absent() -> None:
    assert merged(declared(first=summed), [partial(0, None)]) is None
    assert merged(declared(first=summed), [partial(0, None), partial(1, 2)]) == Int64Value(value=2)


def test_several_partials_are_merged_by_the_view() -> None:
    assert merged(declared(first=summed), [partial(0, 3), partial(2, 4)]) == Int64Value(value=7)


def test_the_version_that_folded_merges_and_else_the_newest() -> None:
    view = declared(first=summed, second=greatest)
    partials = [partial(0, 3), partial(1, 4)]
    assert merged(view, partials, code_version=1) == Int64Value(value=7)
    assert merged(view, partials) == Int64Value(value=4)
    assert merged(view, partials, code_version=9) == Int64Value(value=4)


def test_several_partials_without_merge_name_the_view_and_the_cure() -> None:
    with pytest.raises(DomainDefectError, match=r"Int64Value .* declare `merge`"):
        merged(declared(first=None), [partial(0, 3), partial(1, 4)])


def test_a_merge_that_fails_is_a_defect_of_the_domain() -> None:
    with pytest.raises(DomainDefectError, match="ArithmeticError"):
        merged(declared(first=failing), [partial(0, 3)])
