"""Tokens: what a command hands to a query; promise: a token names streams, versions and its store.

A token is URL-safe base64 of: a format byte, the CRC-32 of the rest, the store's id, then for each
stream its version and its name. Callers treat it as opaque; several are joined by `~`.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from eventspine.rpc.errors import CursorExpiredError, CursorInvalidError
from eventspine.rpc.limits import TOKEN_BYTES_MAX
from eventspine.storage.records import StreamPlace

SEPARATOR: Final = "~"
"""Stands between tokens that one query demands together. Never inside of one."""

_FORMAT: Final = b"\x01"
_HEAD_BYTES: Final = 5
_VERSION_MAX: Final = 2**63 - 1


class Token(NamedTuple):
    """What a token stands for.

    Attributes:
        store_id: The store that made it.
        places: The streams, each with the version that an answer has to show; each stream once.
    """

    store_id: str
    places: tuple[StreamPlace, ...]


def encode_token(store_id: str, places: Sequence[StreamPlace]) -> str:
    """Returns the token of stream versions in a store. Printable ASCII without `~` and `=`."""
    parts = [_store(store_id)]
    for stream, version in places:
        parts.append(_varint(version))
        parts.append(_text(stream))
    body = b"".join(parts)
    head = _FORMAT + binascii.crc32(body).to_bytes(4, "big")
    return urlsafe_b64encode(head + body).rstrip(b"=").decode()


def decode_token(text: str) -> Token:
    """Reads one token or several joined by `~`; of a stream named twice the higher version counts.

    Raises:
        CursorInvalidError: It is not a token of this platform.
        CursorExpiredError: Joined tokens are of different stores, so one of them is of another.
    """
    if not 0 < len(text) <= TOKEN_BYTES_MAX:
        raise CursorInvalidError(
            f"the token has {len(text)} characters; send one that a command's result gave, "
            f"or several joined by `~`, at most {TOKEN_BYTES_MAX} in all"
        )
    stores: set[str] = set()
    versions: dict[str, int] = {}
    for part in text.split(SEPARATOR):
        token = _decode_one(part)
        stores.add(token.store_id)
        for stream, version in token.places:
            versions[stream] = max(version, versions.get(stream, 0))
    if len(stores) > 1:
        raise CursorExpiredError(
            "the joined tokens are of different stores; drop those made before the restore"
        )
    return Token(stores.pop(), tuple(StreamPlace(*place) for place in versions.items()))


def _decode_one(text: str) -> Token:
    """Reads one token.

    Raises:
        CursorInvalidError: It is not a token of this platform.
    """
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        body = raw[_HEAD_BYTES:]
        if raw[:_HEAD_BYTES] != _FORMAT + binascii.crc32(body).to_bytes(4, "big"):
            raise ValueError("the checksum differs")
        store_id, at = _read_text(body, 0)
        places = []
        while at < len(body):
            version, at = _read_varint(body, at)
            stream, at = _read_text(body, at)
            places.append(StreamPlace(stream, version))
    except (ValueError, IndexError) as error:
        raise CursorInvalidError(
            "the token is not one that this platform made; send it as a command's result gave it"
        ) from error
    return Token(store_id, tuple(places))


@lru_cache(maxsize=64)
def _store(store_id: str) -> bytes:
    """Returns the encoded id of a store, of which a process knows one."""
    return _text(store_id)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _varint(len(encoded)) + encoded


def _varint(number: int) -> bytes:
    """Encodes a number from 0 in groups of 7 bits, lowest first, as protobuf does."""
    if number < 0x80:
        return bytes((number,))
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _read_text(body: bytes, at: int) -> tuple[str, int]:
    size, at = _read_varint(body, at)
    if at + size > len(body):
        raise ValueError("the text ends too early")
    return body[at : at + size].decode(), at + size


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        group = body[at]
        number |= (group & 0x7F) << shift
        at += 1
        if group < 0x80:
            break
        shift += 7
        if shift > _VERSION_MAX.bit_length():
            raise ValueError("the number is too large")
    if number > _VERSION_MAX:
        raise ValueError("the number is too large")
    return number, at
