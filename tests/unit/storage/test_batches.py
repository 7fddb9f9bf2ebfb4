"""How rows are cut into batches."""

from eventspine.storage.cassandra.batches import BATCH_BYTES, BATCH_ROWS, batched


def test_rows_are_cut_by_number_and_by_size_and_all_come() -> None:
    small = [b"x"] * (2 * BATCH_ROWS + 1)
    assert [len(batch) for batch in batched(small, len)] == [BATCH_ROWS, BATCH_ROWS, 1]
    half = b"x" * (BATCH_BYTES // 2)
    assert [len(batch) for batch in batched([half] * 5, len)] == [2, 2, 1]
    assert [len(batch) for batch in batched(small, len, rows_max=100)] == [len(small)]
    assert list(batched([], len)) == []


def test_a_row_that_is_larger_than_a_batch_stands_alone() -> None:
    huge = b"x" * (BATCH_BYTES + 1)
    rows = [b"a", huge, b"b", huge]
    assert list(batched(rows, len)) == [[b"a"], [huge], [b"b"], [huge]]
