"""What every ViewStore does."""

import pytest

from eventspine.storage.errors import ProgressMovedError
from eventspine.storage.keys import encode_key
from eventspine.storage.ports import ViewStore
from eventspine.storage.records import KeyedRow, Parked, PartialRow, ViewBatch

BUILD = "names.v1.Name@1"
"""Rows of one text as their key."""

NUMBERS = "names.v1.Number@1"
"""Rows of one whole number as their key."""

PAIRS = "names.v1.Pair@1"
"""Rows of a text and a whole number; the text alone chooses where a row is kept."""


def key(*values: str | int) -> bytes:
    return encode_key(values)


def batch(
    after: int,
    through: int,
    rows: dict[bytes, bytes | None] | None = None,
    *,
    build: str = BUILD,
    parked: dict[bytes, Parked | None] | None = None,
) -> ViewBatch:
    partials = {k: PartialRow(0, through, row) for k, row in (rows or {}).items()}
    return ViewBatch(build, 0, after, through, partials, parked or {})


def keys_of(rows: list[KeyedRow]) -> list[bytes]:
    return [row.key for row in rows]


class ViewStoreSuite:
    """A backend's file gives the fixture `views`: a new, empty store."""

    async def test_an_unknown_build_has_no_rows_and_has_not_begun(self, views: ViewStore) -> None:
        assert await views.get(BUILD, key("a")) == ()
        assert await views.list(BUILD) == []
        assert await views.load(BUILD, 0, [key("a")]) == {}
        assert await views.progress(BUILD) == (0,)

    async def test_saved_rows_are_loaded_and_got_as_they_were_saved(self, views: ViewStore) -> None:
        await views.save([batch(0, 7, {key("a"): b"row a", key("b"): b""})])
        assert await views.get(BUILD, key("a")) == (PartialRow(0, 7, b"row a"),)
        assert await views.get(BUILD, key("b")) == (PartialRow(0, 7, b""),)
        loaded = await views.load(BUILD, 0, [key("b"), key("c"), key("a")])
        assert loaded == {key("a"): PartialRow(0, 7, b"row a"), key("b"): PartialRow(0, 7, b"")}
        assert await views.progress(BUILD) == (7,)

    async def test_a_later_batch_replaces_only_the_rows_that_it_names(
        self, views: ViewStore
    ) -> None:
        await views.save([batch(0, 2, {key("a"): b"1", key("b"): b"1"})])
        await views.save([batch(2, 5, {key("b"): b"2"})])
        assert await views.list(BUILD) == [
            KeyedRow(key("a"), (PartialRow(0, 2, b"1"),)),
            KeyedRow(key("b"), (PartialRow(0, 5, b"2"),)),
        ]

    async def test_a_batch_may_have_no_rows_and_only_move_on(self, views: ViewStore) -> None:
        await views.save([batch(0, 500)])
        assert await views.progress(BUILD) == (500,)
        assert await views.list(BUILD) == []

    async def test_a_batch_from_another_progress_is_refused_and_saves_nothing(
        self, views: ViewStore
    ) -> None:
        await views.save([batch(0, 3, {key("a"): b"1"})])
        with pytest.raises(ProgressMovedError):
            await views.save([batch(2, 4, {key("a"): b"2"})])
        with pytest.raises(ProgressMovedError):
            await views.save([batch(0, 4, {key("a"): b"2"})])
        assert await views.get(BUILD, key("a")) == (PartialRow(0, 3, b"1"),)
        assert await views.progress(BUILD) == (3,)

    async def test_one_refused_batch_refuses_all_that_come_with_it(self, views: ViewStore) -> None:
        other = "names.v1.Number@1"
        with pytest.raises(ProgressMovedError):
            await views.save(
                [batch(0, 3, {key("a"): b"1"}), batch(1, 3, {key(2): b"1"}, build=other)]
            )
        assert await views.list(BUILD) == []
        assert await views.progress(BUILD) == (0,)

    async def test_a_batch_may_start_where_the_one_before_it_in_the_call_ends(
        self, views: ViewStore
    ) -> None:
        await views.save([batch(0, 3, {key("a"): b"1"}), batch(3, 5, {key("a"): b"2"})])
        assert await views.get(BUILD, key("a")) == (PartialRow(0, 5, b"2"),)
        assert await views.progress(BUILD) == (5,)

    async def test_a_deleted_row_is_not_shown_but_its_sequence_is_kept(
        self, views: ViewStore
    ) -> None:
        await views.save([batch(0, 3, {key("a"): b"1", key("b"): b"1"})])
        await views.save([batch(3, 4, {key("a"): None})])
        assert await views.get(BUILD, key("a")) == ()
        assert keys_of(await views.list(BUILD)) == [key("b")]
        assert await views.load(BUILD, 0, [key("a")]) == {key("a"): PartialRow(0, 4, None)}

    async def test_deleted_rows_do_not_shorten_a_page(self, views: ViewStore) -> None:
        await views.save(
            [batch(0, 1, {key(n): None if n % 2 else b"1" for n in range(20)}, build=NUMBERS)]
        )
        assert keys_of(await views.list(NUMBERS, limit=4)) == [key(0), key(2), key(4), key(6)]

    async def test_rows_are_listed_in_the_order_of_their_values(self, views: ViewStore) -> None:
        numbers = [300, -1, 0, 7, 2**40, -(2**40)]
        await views.save([batch(0, 1, {key("a", n): b"1" for n in numbers}, build=PAIRS)])
        assert keys_of(await views.list(PAIRS)) == [key("a", n) for n in sorted(numbers)]

    async def test_a_list_holds_the_rows_of_its_prefix_and_no_others(
        self, views: ViewStore
    ) -> None:
        names = ["a", "a\x00", "a\x00b", "ab", "b", ""]
        await views.save([batch(0, 1, {key(name, 1): b"1" for name in names}, build=PAIRS)])
        for name in names:
            assert keys_of(await views.list(PAIRS, prefix=key(name))) == [key(name, 1)]

    async def test_a_list_goes_on_after_the_last_key_page_by_page(self, views: ViewStore) -> None:
        await views.save([batch(0, 1, {key("a", n): b"1" for n in range(25)}, build=PAIRS)])
        await views.save([batch(1, 2, {key("b", 0): b"1"}, build=PAIRS)])
        pages, after = [], b""
        while page := await views.list(PAIRS, prefix=key("a"), after=after, limit=10):
            pages.append(len(page))
            after = page[-1].key
        assert pages == [10, 10, 5]

    async def test_a_prefix_of_all_highest_bytes_has_no_end_and_lists_its_rows(
        self, views: ViewStore
    ) -> None:
        await views.save([batch(0, 1, {b"\xff\xff\x01": b"1", b"\xfe": b"1"})])
        assert keys_of(await views.list(BUILD, prefix=b"\xff\xff")) == [b"\xff\xff\x01"]

    async def test_rows_added_between_two_lists_are_in_their_place(self, views: ViewStore) -> None:
        await views.save([batch(0, 1, {key(2): b"1"}, build=NUMBERS)])
        assert keys_of(await views.list(NUMBERS)) == [key(2)]
        await views.save([batch(1, 2, {key(3): b"1", key(1): b"1"}, build=NUMBERS)])
        assert keys_of(await views.list(NUMBERS)) == [key(1), key(2), key(3)]

    async def test_thousands_of_keys_are_loaded_in_one_call(self, views: ViewStore) -> None:
        rows: dict[bytes, bytes | None] = {key(n): b"%d" % n for n in range(5000)}
        await views.save([batch(0, 1, rows, build=NUMBERS)])
        loaded = await views.load(NUMBERS, 0, [key(n) for n in range(6000)])
        assert {k: row.encoded for k, row in loaded.items()} == rows

    async def test_rows_with_the_same_first_value_are_loaded_each_as_it_is(
        self, views: ViewStore
    ) -> None:
        rows: dict[bytes, bytes | None] = {key("a", n): b"%d" % n for n in range(250)}
        await views.save([batch(0, 1, rows | {key("b", 7): b"b"}, build=PAIRS)])
        await views.save([batch(1, 2, {key("a", 3): None}, build=PAIRS)])
        asked = [key(name, n) for name in ("a", "b", "c") for n in range(300)]
        loaded = await views.load(PAIRS, 0, asked)
        expected = {one: PartialRow(0, 1, encoded) for one, encoded in rows.items()}
        expected |= {key("a", 3): PartialRow(0, 2, None), key("b", 7): PartialRow(0, 1, b"b")}
        assert loaded == expected
        assert await views.load(PAIRS, 1, asked) == {}

    async def test_builds_do_not_see_each_other(self, views: ViewStore) -> None:
        other = "names.v1.Name@2"
        await views.save([batch(0, 3, {key("a"): b"old"})])
        await views.save([batch(0, 1, {key("a"): b"new"}, build=other)])
        assert await views.get(BUILD, key("a")) == (PartialRow(0, 3, b"old"),)
        assert await views.get(other, key("a")) == (PartialRow(0, 1, b"new"),)
        assert (await views.progress(BUILD), await views.progress(other)) == ((3,), (1,))

    async def test_a_dropped_build_is_gone_and_cannot_be_saved_to_again(
        self, views: ViewStore
    ) -> None:
        other = "names.v1.Name@2"
        await views.save(
            [batch(0, 3, {key("a"): b"1"}), batch(0, 3, {key("a"): b"1"}, build=other)]
        )
        await views.drop(BUILD)
        assert await views.list(BUILD) == []
        assert await views.progress(BUILD) == (0,)
        for after in (0, 3):
            with pytest.raises(ProgressMovedError):
                await views.save([batch(after, 4, {key("a"): b"2"})])
        assert await views.list(BUILD) == []
        assert await views.get(other, key("a")) == (PartialRow(0, 3, b"1"),)

    async def test_dropping_what_is_not_there_is_fine(self, views: ViewStore) -> None:
        await views.drop(BUILD)
        await views.drop(BUILD)
        assert await views.progress(BUILD) == (0,)
