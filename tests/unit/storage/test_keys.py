"""Row keys as bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventspine.domain.view import Key, KeyValue
from eventspine.storage.keys import after_prefix, decode_key, encode_key, key_json

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.integers(-300, 300)
# Few letters, with the two that are escaped, so that one text is often the beginning of another.
TEXTS = st.text("ab\x00\x01\xff€", max_size=6) | st.text(max_size=6)
BLOBS = st.lists(st.sampled_from([0, 1, 2, 97, 254, 255]), max_size=6).map(bytes)
KINDS: list[st.SearchStrategy[KeyValue]] = [NUMBERS, TEXTS, BLOBS, st.booleans()]


@st.composite
def two_keys(draw: st.DrawFn) -> tuple[Key, Key]:
    """Two keys of one view: the same types, of the same length."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    one, two = (tuple(draw(kind) for kind in kinds) for _ in range(2))
    return one, two


def order(key: Key) -> list[KeyValue]:
    return [value.encode() if isinstance(value, str) else value for value in key]


@settings(max_examples=60, deadline=None)
@given(two_keys())
def test_encodings_sort_as_the_values_do(keys: tuple[Key, Key]) -> None:
    one, two = keys
    assert (encode_key(one) < encode_key(two)) == (order(one) < order(two))
    assert (encode_key(one) == encode_key(two)) == (one == two)


@settings(max_examples=60, deadline=None)
@given(two_keys(), st.integers(0, 3))
def test_leading_values_are_the_beginning_of_their_own_keys_only(
    keys: tuple[Key, Key], length: int
) -> None:
    one, two = keys
    begins = encode_key(two).startswith(encode_key(one[:length]))
    assert begins == (two[:length] == one[:length])


@settings(max_examples=60, deadline=None)
@given(two_keys())
def test_decoding_gives_the_values_back_with_their_types(keys: tuple[Key, Key]) -> None:
    decoded = decode_key(encode_key(keys[0]))
    assert decoded == keys[0]
    assert [type(value) for value in decoded] == [type(value) for value in keys[0]]


@settings(max_examples=60, deadline=None)
@given(BLOBS, BLOBS)
def test_what_begins_with_a_prefix_is_what_lies_below_the_bytes_after_it(
    prefix: bytes, other: bytes
) -> None:
    above = after_prefix(prefix)
    for candidate in (other, prefix + other):
        within = prefix <= candidate and (above is None or candidate < above)
        assert candidate.startswith(prefix) == within


def test_all_numbers_at_the_edges_of_their_lengths_are_in_order() -> None:
    edges = {sign * (1 << bits) + d for bits in range(65) for sign in (1, -1) for d in (-1, 0, 1)}
    numbers = sorted(n for n in edges if -(2**63) <= n < 2**64)
    encodings = [encode_key((n,)) for n in numbers]
    assert encodings == sorted(encodings)
    assert [decode_key(encoding) for encoding in encodings] == [(n,) for n in numbers]


def test_truth_values_and_numbers_stay_apart() -> None:
    assert decode_key(encode_key((True, 1, False, 0))) == (True, 1, False, 0)
    assert encode_key((True,)) != encode_key((1,))


def test_the_encoding_never_changes_since_files_hold_it() -> None:
    key = ("JFK", b"\x00x", 0, 5, -1, 300, True, False)
    assert encode_key(key).hex() == "024a464b00010100ff780001141505" + "13fe" + "16012c" + "2726"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_a_number_of_no_proto_type_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="must be from"):
        encode_key((number,))


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="float is no type of a key value"):
        encode_key((1.5,))  # type: ignore[arg-type] # what is tested


@pytest.mark.parametrize(
    "encoded", [b"\x03", b"\x02abc", b"\x16\x01", b"\xff", b"\x02\xff\x00\x01"]
)
def test_bytes_that_are_no_key_are_refused(encoded: bytes) -> None:
    with pytest.raises(ValueError):  # each kind of damage has its own text
        decode_key(encoded)


def test_a_key_is_shown_as_json_with_bytes_in_hexadecimal() -> None:
    assert key_json(('a"é', -3, b"\x00\xff", True)) == '["a\\"é",-3,"00ff",true]'
    assert key_json(()) == "[]"
