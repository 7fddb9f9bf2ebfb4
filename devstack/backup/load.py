"""Restores a backup into a new store: every checksum, version and chain is checked on the way."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from devstack.backup.manifest import Manifest, read_manifest
from devstack.backup.segment import (
    PLACE,
    RECORD,
    DamagedBackupError,
    Item,
    SegmentEntry,
    read_segment,
)
from eventspine.storage.codec import CHAIN_BYTES, CHAIN_TAG
from eventspine.storage.records import GENESIS, CommandRow, LogEntry, NumberedCommand
from eventspine.v1.admin_pb2 import CommandRow as CommandRowMessage
from eventspine.v1.record_pb2 import EventRecord

BATCH = 2_000


class Batch(NamedTuple):
    """Some of a backup, in the order of the log."""

    entries: list[LogEntry]
    commands: list[NumberedCommand]


class LastCommands:
    """How many of the last events of each stream are of one command."""

    def __init__(self) -> None:
        """Knows no stream yet."""
        self._last: dict[str, tuple[str, int]] = {}

    def note(self, stream: str, command_id: str) -> None:
        """Notes the next event of a stream."""
        self._last[stream] = command_id, self.count(stream, command_id) + 1

    def count(self, stream: str, command_id: str) -> int:
        """Returns how many of the last events are of this command; 0 where the last is not."""
        last, count = self._last.get(stream, ("", 0))
        return count if last == command_id else 0


class Chains:
    """Checks that every stream's versions have no gap and its chain holds.

    Attributes:
        heads: By stream, its last version and chain hash.
        last_commands: Whose the last events are.
    """

    def __init__(self) -> None:
        """Begins with no stream."""
        self.heads: dict[str, tuple[int, bytes]] = {}
        self.last_commands = LastCommands()
        self._ends: dict[int, int] = {}

    def entry(self, item: Item, where: str) -> LogEntry:
        """Checks one record and returns it in its place in the log.

        Raises:
            DamagedBackupError: Names the place in the backup, the stream and the version.
        """
        partition, sequence = PLACE.unpack_from(item.content)
        encoded = item.content[PLACE.size :]
        record = EventRecord.FromString(encoded)
        version, chain = self.heads.get(record.stream, (0, GENESIS))
        if record.stream_version != version + 1:
            raise DamagedBackupError(
                f"{where}: stream {record.stream!r} goes on at version {record.stream_version} "
                f"after {version}"
            )
        if sequence != self._ends.get(partition, 0) + 1:
            raise DamagedBackupError(f"{where}: the log has a gap before sequence {sequence}")
        chain = hashlib.sha256(chain + encoded[:-CHAIN_BYTES]).digest()
        if encoded[-CHAIN_BYTES:] != CHAIN_TAG + chain:
            raise DamagedBackupError(
                f"{where}: the chain of stream {record.stream!r} does not hold at version "
                f"{record.stream_version}"
            )
        self.heads[record.stream] = (record.stream_version, chain)
        self._ends[partition] = sequence
        self.last_commands.note(record.stream, record.command_id)
        return LogEntry(
            partition, sequence, record.stream, record.stream_version, record.type, encoded
        )

    def check_ends(self, manifest: Manifest) -> None:
        """Checks that the log ends where the manifest says.

        Raises:
            DamagedBackupError: It ends elsewhere.
        """
        ends = tuple(self._ends.get(partition, 0) for partition in range(len(manifest.ends)))
        if ends != manifest.ends:
            raise DamagedBackupError(f"the segments end at {ends}, the manifest at {manifest.ends}")


class Checked(NamedTuple):
    """A sound backup: its manifest, and the streams that it holds."""

    manifest: Manifest
    chains: Chains

    @property
    def streams(self) -> int:
        """How many streams it holds."""
        return len(self.chains.heads)


def check(folder: Path, advance: Callable[[int], None] = lambda count: None) -> Checked:
    """Reads a whole backup and checks it; changes nothing.

    Args:
        folder: Where the backup is.
        advance: Told how many records were checked since it was last told.

    Raises:
        NoBackupError: The folder holds no finished backup.
        DamagedBackupError: Names the segment and the record that are damaged.
    """
    manifest, chains = read_manifest(folder), Chains()
    for batch in batches(folder, manifest, chains):
        advance(len(batch.entries))
    return Checked(manifest, chains)


def batches(folder: Path, manifest: Manifest, chains: Chains | None = None) -> Iterator[Batch]:
    """Reads a backup in the order in which it was written, checking everything on the way.

    Args:
        folder: Where the backup is.
        manifest: What belongs to it.
        chains: What checks it; a new one when None. It knows the streams when all is read.

    Raises:
        DamagedBackupError: Names the segment and the record that are damaged. What came before it
            was sound.
    """
    chains = Chains() if chains is None else chains
    commands = _Commands()
    for segment in manifest.segments:
        for batch in _segment_batches(folder, segment, chains):
            yield Batch(batch.entries, commands.new(batch.commands))
    chains.check_ends(manifest)


class _Commands:
    """Leaves out what came before: commands without events come with each backup of a stack."""

    def __init__(self) -> None:
        self._without_events: set[tuple[str, str]] = set()
        self._last = 0

    def new(self, commands: Sequence[NumberedCommand]) -> list[NumberedCommand]:
        """Returns the new ones, with numbers that ascend."""
        new: list[NumberedCommand] = []
        for number, stream, row in commands:
            if not row.event_count:
                if (stream, row.command_id) in self._without_events:
                    continue
                self._without_events.add((stream, row.command_id))
            self._last = max(number, self._last + 1)
            new.append(NumberedCommand(self._last, stream, row))
        return new


def _segment_batches(folder: Path, segment: SegmentEntry, chains: Chains) -> Iterator[Batch]:
    batch = Batch([], [])
    for number, item in enumerate(read_segment(folder / segment.name, segment), 1):
        if item.kind == RECORD:
            where = f"segment {segment.name}, record {number}"
            batch.entries.append(chains.entry(item, where))
        else:
            batch.commands.append(_command(item.content))
        if len(batch.entries) + len(batch.commands) >= BATCH:
            yield batch
            batch = Batch([], [])
    yield batch


def _command(content: bytes) -> NumberedCommand:
    message = CommandRowMessage.FromString(content)
    row = CommandRow(
        message.command_id,
        message.digest,
        message.last_version,
        message.event_count,
        message.append_time.ToMicroseconds(),
    )
    return NumberedCommand(message.number, message.stream, row)
