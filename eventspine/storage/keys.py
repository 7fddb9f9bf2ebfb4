"""The encoding of row keys: bytes that sort as the key values do; promise: order and prefixes hold.

Every value is a tag and then bytes of which none is the beginning of another value's, so the
encoding of a key's leading values is a prefix of the encoding of the key, and of no other key.

    str    tag, UTF-8 with 00 written as 00 FF, then 00 01 as the end
    bytes  the same with another tag
    int    tag that says sign and length, then the shortest big-endian number (less than 0: the
           complement, so that it sorts); from -2**63 to 2**64 - 1
    bool   a tag alone

Source: the tuple layer of FoundationDB, with a longer end mark, since there a string can be the
beginning of another one that goes on with 00.
"""

import json
from collections.abc import Callable

from eventspine.domain.view import Key, KeyValue

_BYTES_TAG = 0x01
_STR_TAG = 0x02
_ZERO_TAG = 0x14
_FALSE_TAG = 0x26
_TRUE_TAG = 0x27
_INT_BYTES_MAX = 8
_INT_MIN = -(1 << 63)
_INT_MAX = (1 << 64) - 1

_END = b"\x00\x01"
_ESCAPED = b"\x00\xff"

_INT_TAGS = [bytes([_ZERO_TAG + length]) for length in range(-_INT_BYTES_MAX, _INT_BYTES_MAX + 1)]

_SMALL = 1 << 12
_SMALL_INTS = [
    bytes([_ZERO_TAG + (number.bit_length() + 7 >> 3)])
    + number.to_bytes(number.bit_length() + 7 >> 3, "big")
    for number in range(_SMALL)
]
"""The encodings of the numbers that are most frequent, such as versions of streams."""


def encode_key(values: Key) -> bytes:
    """Encodes key values, or the leading ones of a key, in their order.

    Two keys whose values have the same types compare as their encodings do; strings compare by
    their UTF-8 bytes.

    Raises:
        ValueError: A number is below -2**63 or above 2**64 - 1, or a string is not valid Unicode.
        TypeError: A value is not a string, bytes, a whole number or a truth value.
    """
    return b"".join([_ENCODERS[type(value)](value) for value in values])


def key_json(values: Key) -> str:
    """Returns key values as a JSON list, for people and for requests; bytes are hexadecimal."""
    plain = [value.hex() if isinstance(value, bytes) else value for value in values]
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def decode_key(encoded: bytes) -> Key:
    """Returns the values that `encode_key` made the bytes from.

    Raises:
        ValueError: The bytes were not made by `encode_key`.
    """
    values: list[KeyValue] = []
    place = 0
    while place < len(encoded):
        tag = encoded[place]
        value, place = _decoder(tag)(encoded, place)
        values.append(value)
    return tuple(values)


def after_prefix(prefix: bytes) -> bytes | None:
    """Returns the least bytes above all that start with `prefix`; None where there are none."""
    stripped = prefix.rstrip(b"\xff")
    if not stripped:
        return None
    return stripped[:-1] + bytes([stripped[-1] + 1])


def _encode_str(value: KeyValue) -> bytes:
    encoded = value.encode()  # type: ignore[union-attr] # the table below passes strings only
    return b"\x02" + encoded.replace(b"\x00", _ESCAPED) + _END


def _encode_bytes(value: KeyValue) -> bytes:
    return b"\x01" + bytes(value).replace(b"\x00", _ESCAPED) + _END  # type: ignore[arg-type] # the table below passes bytes only


def _encode_int(value: KeyValue) -> bytes:
    number = int(value)
    if 0 <= number < _SMALL:
        return _SMALL_INTS[number]
    if not _INT_MIN <= number <= _INT_MAX:
        raise ValueError(f"{number} is no key value: it must be from -2**63 to 2**64 - 1")
    length = (abs(number).bit_length() + 7) >> 3
    if number >= 0:
        return _INT_TAGS[_INT_BYTES_MAX + length] + number.to_bytes(length, "big")
    complement = number + (1 << (length << 3)) - 1
    return _INT_TAGS[_INT_BYTES_MAX - length] + complement.to_bytes(length, "big")


def _encode_bool(value: KeyValue) -> bytes:
    return b"\x27" if value else b"\x26"


class _Encoders(dict[type, Callable[[KeyValue], bytes]]):
    def __missing__(self, kind: type) -> Callable[[KeyValue], bytes]:
        raise TypeError(f"{kind.__name__} is no type of a key value: use str, bytes, int or bool")


_ENCODERS = _Encoders(
    {str: _encode_str, bytes: _encode_bytes, int: _encode_int, bool: _encode_bool}
)


def _decoder(tag: int) -> Callable[[bytes, int], tuple[KeyValue, int]]:
    if tag == _STR_TAG:
        return _decode_str
    if tag == _BYTES_TAG:
        return _decode_bytes
    if abs(tag - _ZERO_TAG) <= _INT_BYTES_MAX:
        return _decode_int
    if tag in (_FALSE_TAG, _TRUE_TAG):
        return _decode_bool
    raise ValueError(f"the key holds {tag:#04x} where the tag of a value has to stand")


def _decode_bytes(encoded: bytes, place: int) -> tuple[bytes, int]:
    # In the escaped text, 00 is always followed by FF, so the first end mark is the end.
    end = encoded.find(_END, place + 1)
    if end < 0:
        raise ValueError("the key breaks off inside of a text")
    return encoded[place + 1 : end].replace(_ESCAPED, b"\x00"), end + len(_END)


def _decode_str(encoded: bytes, place: int) -> tuple[str, int]:
    text, place = _decode_bytes(encoded, place)
    return text.decode(), place


def _decode_int(encoded: bytes, place: int) -> tuple[int, int]:
    signed_length = encoded[place] - _ZERO_TAG
    end = place + 1 + abs(signed_length)
    if end > len(encoded):
        raise ValueError("the key breaks off inside of a number")
    number = int.from_bytes(encoded[place + 1 : end], "big")
    if signed_length < 0:
        number -= (1 << (-signed_length << 3)) - 1
    return number, end


def _decode_bool(encoded: bytes, place: int) -> tuple[bool, int]:
    return encoded[place] == _TRUE_TAG, place + 1
