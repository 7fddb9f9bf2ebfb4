"""Tokens: read back as made, joined, and refused when anything about them was changed."""

from base64 import urlsafe_b64encode
from binascii import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventspine.rpc.errors import CursorExpiredError, CursorInvalidError
from eventspine.rpc.limits import TOKEN_BYTES_MAX
from eventspine.rpc.token import decode_token, encode_token
from eventspine.storage.records import StreamPlace

places = st.lists(
    st.builds(StreamPlace, st.text(min_size=1, max_size=40), st.integers(0, 2**63 - 1)),
    max_size=5,
    unique_by=lambda place: place.stream,
)


@given(st.text(max_size=40), places)
def test_a_token_says_what_was_put_in(store_id: str, put: list[StreamPlace]) -> None:
    text = encode_token(store_id, put)
    assert text.isascii()
    assert "~" not in text
    assert decode_token(text) == (store_id, tuple(put))


def test_joined_tokens_demand_the_higher_version_of_each_stream() -> None:
    first = encode_token("s", [StreamPlace("account/a", 7), StreamPlace("account/b", 1)])
    second = encode_token("s", [StreamPlace("account/a", 3), StreamPlace("account/c", 2)])
    assert dict(decode_token(f"{first}~{second}").places) == {
        "account/a": 7,
        "account/b": 1,
        "account/c": 2,
    }


def test_tokens_of_two_stores_cannot_be_met_together() -> None:
    with pytest.raises(CursorExpiredError, match="different stores"):
        decode_token(encode_token("s", []) + "~" + encode_token("t", []))


@pytest.mark.parametrize(
    "text", ["", "~", "abc", "AAAAAA", "ä", "AQ==", "!", "x" * (TOKEN_BYTES_MAX + 1), "\ud800"]
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalidError):
        decode_token(text)


@given(st.data())
def test_a_changed_character_is_noticed(data: st.DataObject) -> None:
    text = encode_token("store", [StreamPlace("account/alice", 300)])
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABab01-_!~ ").filter(lambda c: c != text[place]))
    changed = text[:place] + other + text[place + 1 :]
    try:
        token = decode_token(changed)
    except CursorInvalidError:
        return
    # The last character has bits that stand for nothing.
    assert (place, token) == (len(text) - 1, decode_token(text))


@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    import base64
    import binascii

    text = base64.urlsafe_b64encode(b"\x01" + binascii.crc32(raw).to_bytes(4, "big") + raw).decode()
    try:
        decode_token(text.rstrip("="))
    except CursorInvalidError:
        return


def test_an_endless_number_is_refused_before_it_grows() -> None:
    for size in (11, 48_000):
        body = b"\x00" + b"\xff" * size
        forged = b"\x01" + crc32(body).to_bytes(4, "big") + body
        with pytest.raises(CursorInvalidError) as refused:
            decode_token(urlsafe_b64encode(forged).rstrip(b"=").decode())
        assert "the number is too large" in str(refused.value.__cause__)
