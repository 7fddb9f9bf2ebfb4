"""A segment of a backup: items one after the other, each with its own checksum.

Layout: the line `EVENTSPINE-SEGMENT 1`, then items. An item is one byte of kind (`R` record, `C`
command), its length in 4 bytes, its CRC-32 over kind, length and content in 4 bytes, both
big-endian, then the content. A record's content is its partition in 4 and its sequence in 8 bytes,
then the EventRecord as it was stored. A command's content is an encoded `CommandRow`.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAGIC = b"EVENTSPINE-SEGMENT 1\n"
RECORD, COMMAND = b"R", b"C"
ITEM = struct.Struct(">cII")
PLACE = struct.Struct(">IQ")


class DamagedBackupError(Exception):
    """A backup is not what was written. Nothing was restored. The text names the place."""


class Item(NamedTuple):
    """One item of a segment: its kind and its content."""

    kind: bytes
    content: bytes


class SegmentEntry(NamedTuple):
    """What the manifest says of a segment: its file's name, size, and SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str
    records: int
    commands: int


class SegmentWriter:
    """Writes one segment; counts and hashes what it writes."""

    def __init__(self, path: Path) -> None:
        """Creates the file; it must not exist."""
        self._path = path
        self._file: BinaryIO = path.open("xb")
        self._hash = hashlib.sha256()
        self.size = 0
        self.records = 0
        self.commands = 0
        self._write(MAGIC)

    def record(self, partition: int, sequence: int, encoded: bytes) -> None:
        """Adds a record."""
        self._item(RECORD, PLACE.pack(partition, sequence) + encoded)
        self.records += 1

    def command(self, encoded: bytes) -> None:
        """Adds an encoded CommandRow."""
        self._item(COMMAND, encoded)
        self.commands += 1

    def _item(self, kind: bytes, content: bytes) -> None:
        self._write(ITEM.pack(kind, len(content), _checksum(kind, content)) + content)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def close(self, fsync: bool = True) -> SegmentEntry:
        """Ends the segment, on disk when this returns; returns what the manifest shall say."""
        import os

        self._file.flush()
        if fsync:
            os.fsync(self._file.fileno())
        self._file.close()
        return SegmentEntry(
            self._path.name, self.size, self._hash.hexdigest(), self.records, self.commands
        )

    def discard(self) -> None:
        """Closes and deletes a segment that will not be part of a backup."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _checksum(kind: bytes, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(kind + len(content).to_bytes(4, "big")))


def read_segment(path: Path, entry: SegmentEntry) -> Iterator[Item]:
    """Reads and checks the items of a segment.

    Raises:
        DamagedBackupError: Names the segment and, where one is damaged, the item by its number.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DamagedBackupError(f"segment {entry.name} is missing") from None
    if not data.startswith(MAGIC):
        raise DamagedBackupError(f"segment {entry.name} does not begin as a segment does")
    yield from _items(data, entry.name)
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DamagedBackupError(
            f"segment {entry.name} is whole in itself but not the one that the manifest names"
        )


def _items(data: bytes, name: str) -> Iterator[Item]:
    at, number = len(MAGIC), 0
    while at < len(data):
        number += 1
        if at + ITEM.size > len(data):
            raise DamagedBackupError(f"segment {name} is cut off in record {number}")
        kind, length, checksum = ITEM.unpack_from(data, at)
        content = data[at + ITEM.size : at + ITEM.size + length]
        if len(content) != length or _checksum(kind, content) != checksum:
            raise DamagedBackupError(f"segment {name} is damaged in record {number}")
        yield Item(kind, content)
        at += ITEM.size + length
