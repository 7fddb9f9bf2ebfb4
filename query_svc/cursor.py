"""Cursors: where a reader goes on; promise: what this platform did not make is told apart.

A cursor is base64url text over: one byte for its kind, its fields, and a CRC-32 over both. It is
opaque to callers, and it guards against mix-ups, not against forgery.
"""

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from eventspine.rpc.errors import CursorExpiredError, CursorInvalidError
from query_svc.splice import varint

CURSOR_CHARACTERS_MAX = 8_192
"""No cursor that was ever made is longer."""

_LOG_KIND = b"L"
_ROWS_KIND = b"R"
_CHECK_BYTES = 4
_FINGERPRINT_BYTES = 8
_INTEGER_BITS_MAX = 64


class LogCursor(NamedTuple):
    """The place of a subscription.

    Attributes:
        store_id: The store whose sequences these are.
        fingerprint: Of the filter.
        sequences: For each partition, the last sequence that was looked at.
    """

    store_id: str
    fingerprint: bytes
    sequences: tuple[int, ...]


class RowsCursor(NamedTuple):
    """The place of a list of rows.

    Attributes:
        store_id: The store that holds the rows.
        fingerprint: Of the view and the prefix.
        build: The number of the build that is listed.
        key: The encoded key of the last row that was sent.
    """

    store_id: str
    fingerprint: bytes
    build: int
    key: bytes


def encode_log(cursor: LogCursor) -> str:
    """Encodes the place of a subscription."""
    numbers = b"".join([varint(sequence) for sequence in cursor.sequences])
    return _text(_LOG_KIND + _counted(cursor.store_id.encode()) + cursor.fingerprint + numbers)


def encode_rows(cursor: RowsCursor) -> str:
    """Encodes the place of a list."""
    start = _ROWS_KIND + _counted(cursor.store_id.encode()) + cursor.fingerprint
    return _text(start + varint(cursor.build) + cursor.key)


def decode_log(text: str) -> LogCursor:
    """Returns the place that `encode_log` has encoded.

    Raises:
        CursorInvalidError: It has not.
    """
    store_id, fingerprint, rest = _opened(_LOG_KIND, text)
    numbers = iter(rest)
    sequences: list[int] = []
    while (number := _next_varint(numbers)) is not None:
        sequences.append(number)
    return LogCursor(store_id, fingerprint, tuple(sequences))


def decode_rows(text: str) -> RowsCursor:
    """Returns the place that `encode_rows` has encoded.

    Raises:
        CursorInvalidError: It has not.
    """
    store_id, fingerprint, rest = _opened(_ROWS_KIND, text)
    numbers = iter(rest)
    build = _next_varint(numbers)
    if build is None:
        raise _invalid()
    return RowsCursor(store_id, fingerprint, build, bytes(numbers))


def resumed(
    cursor: LogCursor,
    *,
    store_id: str,
    ancestors: Mapping[str, tuple[int, ...]],
    ends: tuple[int, ...],
) -> tuple[int, ...]:
    """Returns where a subscription goes on.

    Args:
        cursor: What the caller has sent; its filter is checked elsewhere.
        store_id: This store.
        ancestors: The stores that this one was restored from, with the ends of what it has of them.
        ends: The ends of this store's log.

    Raises:
        CursorExpiredError: The cursor is of another store, or beyond what this one has of it.
    """
    known = ends if cursor.store_id == store_id else ancestors.get(cursor.store_id)
    if known is None:
        raise CursorExpiredError("the cursor is of another store; start again without it")
    if len(cursor.sequences) != len(ends) or len(known) != len(ends):
        raise CursorExpiredError(
            "the cursor is of a log with other partitions; start again without it"
        )
    if any(place > end for place, end in zip(cursor.sequences, known, strict=True)):
        raise CursorExpiredError(
            "the cursor is beyond the end of the log, of events that a restore could not bring "
            "back; start again without it"
        )
    return cursor.sequences


def _text(body: bytes) -> str:
    check = zlib.crc32(body).to_bytes(_CHECK_BYTES, "big")
    return base64.urlsafe_b64encode(body + check).rstrip(b"=").decode()


def _counted(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def _opened(kind: bytes, text: str) -> tuple[str, bytes, bytes]:
    """Returns store id, fingerprint and what follows them."""
    if len(text) > CURSOR_CHARACTERS_MAX:
        raise _invalid()
    try:
        encoded = text.encode("ascii")
        body = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise _invalid() from error
    body, check = body[:-_CHECK_BYTES], body[-_CHECK_BYTES:]
    if zlib.crc32(body).to_bytes(_CHECK_BYTES, "big") != check or body[:1] != kind:
        raise _invalid()
    # The check is no secret, so what stands in front of it may still be short.
    id_end = 2 + body[1] if len(body) > 1 else 2
    fingerprint = body[id_end : id_end + _FINGERPRINT_BYTES]
    if len(fingerprint) < _FINGERPRINT_BYTES:
        raise _invalid()
    return (
        body[2:id_end].decode(errors="replace"),
        fingerprint,
        body[id_end + _FINGERPRINT_BYTES :],
    )


def _next_varint(numbers: Iterator[int]) -> int | None:
    value = shift = 0
    for byte in numbers:
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        shift += 7
        if shift > _INTEGER_BITS_MAX:
            raise _invalid()
    if shift:
        raise _invalid()
    return None


def _invalid() -> CursorInvalidError:
    return CursorInvalidError(
        "the cursor was not made by this platform for such a request; start again without it"
    )
