"""Takes a backup of a running platform: only what has moved since the last one into the folder."""

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from devstack.backup.manifest import (
    Manifest,
    NoBackupError,
    flush_folder,
    read_manifest,
    write_manifest,
)
from devstack.backup.segment import DamagedBackupError, SegmentEntry, SegmentWriter
from eventspine.storage.errors import OwnedError
from eventspine.v1 import admin_pb2, record_pb2
from eventspine.v1.admin_pb2_grpc import AdminServiceStub

SEGMENT_BYTES = 16 * 2**20
_SEGMENT_NAME = re.compile(r"segment-(\d{6})\.bin")


class OtherStoreError(Exception):
    """The folder holds a backup of another store. Nothing was written."""


class Saved(NamedTuple):
    """What a backup added to its folder."""

    manifest: Manifest
    records: int
    commands: int
    size: int


def save(
    stub: AdminServiceStub,
    folder: Path,
    *,
    advance: Callable[[int, int], None] = lambda done, remaining: None,
    segment_bytes: int = SEGMENT_BYTES,
) -> Saved:
    """Adds to a folder what its backup does not hold yet.

    An attempt that fails leaves the backup before it as it was.

    Args:
        stub: The platform, which goes on working.
        folder: Where to; made where it does not exist.
        advance: Told how many records came, and about how many are still to come.
        segment_bytes: How large a segment grows before the next one begins.

    Raises:
        OwnedError: Another backup into the folder is under way. Nothing was written.
        OtherStoreError: The folder's backup is of another store.
        DamagedBackupError: The folder's manifest is damaged, or a segment is missing or of another
            size: what would be added could never be restored.
        grpc.RpcError: The platform refused or went away.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _owned(folder):
        return _add(stub, folder, advance, segment_bytes)


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Keeps others out: two backups at once would take each other's segments for leftovers."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            cure = "wait for it, or choose another folder"
            raise OwnedError(f"another backup into {folder} is under way; {cure}") from error
        yield
    finally:
        os.close(descriptor)


def _add(
    stub: AdminServiceStub,
    folder: Path,
    advance: Callable[[int, int], None],
    segment_bytes: int,
) -> Saved:
    status = stub.GetStatus(admin_pb2.GetStatusRequest())
    before = _earlier(folder, status)
    _check_present(folder, before)
    _delete_leftovers(folder, before)
    writer = _Segments(folder, len(before.segments), segment_bytes)
    try:
        ends, number = _export(stub, before, writer, advance)
        new = writer.finish()
    except BaseException:
        writer.discard()
        raise
    manifest = before._replace(
        ends=ends,
        command_number=number,
        ancestors=_ancestors(status),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        segments=(*before.segments, *new),
    )
    flush_folder(folder)
    write_manifest(folder, manifest)
    return Saved(
        manifest,
        sum(s.records for s in new),
        sum(s.commands for s in new),
        sum(s.size for s in new),
    )


def _ancestors(status: admin_pb2.GetStatusResponse) -> dict[str, tuple[int, ...]]:
    return {a.store_id: tuple(end.sequence for end in a.ends) for a in status.ancestors}


def _earlier(folder: Path, status: admin_pb2.GetStatusResponse) -> Manifest:
    try:
        before = read_manifest(folder)
    except NoBackupError:
        ends = tuple(0 for _ in status.ends)
        return Manifest(status.store_id, status.tenant, ends, 0, {}, "", ())
    if before.store_id != status.store_id:
        raise OtherStoreError(
            f"{folder} holds a backup of store {before.store_id}, but this platform's store is "
            f"{status.store_id}; choose another folder"
        )
    return before


def _check_present(folder: Path, manifest: Manifest) -> None:
    for segment in manifest.segments:
        path = folder / segment.name
        if not path.is_file() or path.stat().st_size != segment.size:
            raise DamagedBackupError(
                f"segment {segment.name} is missing or cut off; back up into a new folder"
            )


def _delete_leftovers(folder: Path, manifest: Manifest) -> None:
    """Deletes segments that an attempt left which did not come to its manifest."""
    known = {segment.name for segment in manifest.segments}
    for path in folder.iterdir():
        if _SEGMENT_NAME.fullmatch(path.name) and path.name not in known:
            path.unlink()


class _Segments:
    """Writes segment after segment, each up to a size."""

    def __init__(self, folder: Path, count: int, segment_bytes: int) -> None:
        self._folder, self._count, self._bytes = folder, count, segment_bytes
        self._open: SegmentWriter | None = None
        self._done: list[SegmentEntry] = []

    def writer(self) -> SegmentWriter:
        if self._open is not None and self._open.size >= self._bytes:
            self._done.append(self._open.close())
            self._open = None
        if self._open is None:
            self._count += 1
            self._open = SegmentWriter(self._folder / f"segment-{self._count:06}.bin")
        return self._open

    def finish(self) -> list[SegmentEntry]:
        if self._open is not None:
            self._done.append(self._open.close())
            self._open = None
        return self._done

    def discard(self) -> None:
        if self._open is not None:
            self._open.discard()
        for entry in self._done:
            (self._folder / entry.name).unlink(missing_ok=True)


def _export(
    stub: AdminServiceStub,
    before: Manifest,
    segments: _Segments,
    advance: Callable[[int, int], None],
) -> tuple[tuple[int, ...], int]:
    ends, number = list(before.ends), before.command_number
    request = admin_pb2.ExportRequest(
        after=[
            record_pb2.PartitionSequence(partition=partition, sequence=sequence)
            for partition, sequence in enumerate(ends)
        ],
        after_command_number=number,
    )
    done = 0
    for batch in stub.Export(request):
        for sequence, encoded in zip(batch.sequences, batch.records, strict=True):
            segments.writer().record(batch.partition, sequence, encoded)
            ends[batch.partition] = sequence
        for command in batch.commands:
            segments.writer().command(command.SerializeToString())
            number = command.number
        done += len(batch.records)
        advance(done, batch.remaining)
    return tuple(ends), number
