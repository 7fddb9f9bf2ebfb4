"""The encoding of records: once, with a hash chain; promise: the same bytes wherever they go.

The chain hash is the record's last field, so the bytes before it are what it covers: a reader in
any language checks SHA-256(previous hash + encoding without the last 34 bytes).
"""

import hashlib
from collections.abc import Iterable

from eventspine.storage.errors import ChainBrokenError
from eventspine.storage.records import NewRecord, StreamRecord
from eventspine.v1.record_pb2 import EventRecord

CHAIN_TAG = bytes([15 << 3 | 2, 32])
"""The tag and length of field 15, `chain_hash`."""

CHAIN_BYTES = len(CHAIN_TAG) + 32
"""How many bytes at the end of an encoded record are its chain hash with its tag."""


def encode(record: EventRecord, previous: bytes) -> tuple[NewRecord, bytes]:
    """Encodes a record that has no chain hash yet; returns it and its chain hash.

    Args:
        record: All fields set but `chain_hash`.
        previous: The chain hash of the version before; `GENESIS` for version 1.
    """
    body = record.SerializeToString()
    chain = hashlib.sha256(previous + body).digest()
    encoded = body + CHAIN_TAG + chain
    return NewRecord(record.stream_version, record.type, encoded), chain


def chain_of(encoded: bytes) -> bytes:
    """Returns the chain hash of an encoded record, without parsing it."""
    return encoded[-32:]


def verify(stream: str, records: Iterable[StreamRecord], previous: bytes, version: int) -> bytes:
    """Recomputes the chain over consecutive records; returns the last chain hash.

    Args:
        stream: The stream that the records were read from.
        records: Consecutive records, the first one at `version` + 1.
        previous: The chain hash of `version`; `GENESIS` for 0.
        version: The version before the first record.

    Raises:
        ChainBrokenError: Names the first record that is missing, out of place or was changed.
    """
    for record in records:
        version += 1
        chain = hashlib.sha256(previous + record.encoded[:-CHAIN_BYTES]).digest()
        if record.encoded[-CHAIN_BYTES:] != CHAIN_TAG + chain:
            raise _broken(stream, version, "was changed after it was stored")
        parsed = EventRecord.FromString(record.encoded)
        if parsed.stream != stream or parsed.stream_version != version:
            raise _broken(stream, version, "is missing or not in its place")
        if record.stream_version != version or record.type != parsed.type:
            raise _broken(stream, version, "has an index entry that is not its own")
        previous = chain
    return previous


def _broken(stream: str, version: int, problem: str) -> ChainBrokenError:
    return ChainBrokenError(
        f"version {version} of stream {stream!r} {problem}; restore it from a backup",
        stream=stream,
        stream_version=str(version),
        problem=problem,
    )
