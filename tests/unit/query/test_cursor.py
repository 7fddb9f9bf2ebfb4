"""Cursors come back as they were made, and nothing else passes for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventspine.rpc.errors import CursorExpiredError, CursorInvalidError
from query_svc.cursor import (
    LogCursor,
    RowsCursor,
    decode_log,
    decode_rows,
    encode_log,
    encode_rows,
    resumed,
)

STORE = "0123456789abcdef" * 2
SEQUENCES = st.lists(st.integers(0, (1 << 63) - 1), max_size=16).map(tuple)
FINGERPRINTS = st.binary(min_size=8, max_size=8)


@given(SEQUENCES, FINGERPRINTS)
def test_the_place_of_a_subscription_comes_back(
    sequences: tuple[int, ...], fingerprint: bytes
) -> None:
    cursor = LogCursor(STORE, fingerprint, sequences)
    assert decode_log(encode_log(cursor)) == cursor


@given(st.integers(1, 1 << 31), st.binary(max_size=300), FINGERPRINTS)
def test_the_place_of_a_list_comes_back(build: int, key: bytes, fingerprint: bytes) -> None:
    cursor = RowsCursor(STORE, fingerprint, build, key)
    assert decode_rows(encode_rows(cursor)) == cursor


@given(st.text(max_size=100))
def test_any_text_is_no_cursor(text: str) -> None:
    for decode in (decode_log, decode_rows):
        with pytest.raises(CursorInvalidError):
            decode(text)


@given(st.integers(0, 60), st.sampled_from("AZaz09-_"))
def test_a_cursor_with_one_other_character_is_none(place: int, character: str) -> None:
    text = encode_log(LogCursor(STORE, b"12345678", (1, 2, 3)))
    changed = text[:place] + character + text[place + 1 :]
    if changed != text:
        with pytest.raises(CursorInvalidError):
            decode_log(changed)


def test_a_cursor_of_a_list_is_none_of_a_subscription() -> None:
    with pytest.raises(CursorInvalidError):
        decode_log(encode_rows(RowsCursor(STORE, b"12345678", 1, b"key")))
    with pytest.raises(CursorInvalidError):
        decode_rows(encode_log(LogCursor(STORE, b"12345678", (1,))))


def test_a_cursor_of_an_ancestor_is_good_up_to_what_was_restored() -> None:
    ancestors = {"old": (10, 20)}

    def resume(*sequences: int) -> tuple[int, ...]:
        cursor = LogCursor("old", b"12345678", sequences)
        return resumed(cursor, store_id=STORE, ancestors=ancestors, ends=(50, 50))

    assert resume(10, 20) == (10, 20)
    assert resume(0, 7) == (0, 7)
    with pytest.raises(CursorExpiredError, match="beyond the end"):
        resume(11, 20)
    with pytest.raises(CursorExpiredError, match="other partitions"):
        resume(1)
