"""The manifest of a backup: which segments belong to it. Written last, in one step."""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from devstack.backup.segment import DamagedBackupError, SegmentEntry

NAME = "manifest.json"
FORMAT = 1


class NoBackupError(Exception):
    """The folder holds no backup."""


class Manifest(NamedTuple):
    """What a backup is made of.

    Attributes:
        store_id: The store that was backed up.
        tenant: Its tenant.
        ends: The last sequence of each log partition that the backup holds.
        command_number: The number of the last command that the backup holds.
        ancestors: The stores that it was restored from, with the ends that they share.
        created: When the last backup into the folder ended, RFC 3339.
        segments: In the order in which they were written.
    """

    store_id: str
    tenant: str
    ends: tuple[int, ...]
    command_number: int
    ancestors: dict[str, tuple[int, ...]]
    created: str
    segments: tuple[SegmentEntry, ...]

    @property
    def records_and_commands(self) -> int:
        """How many records and commands its segments hold."""
        return sum(segment.records + segment.commands for segment in self.segments)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Puts a manifest in the place of an older one; on disk when this returns."""
    body = {
        "format": FORMAT,
        **manifest._asdict(),
        "segments": [segment._asdict() for segment in manifest.segments],
    }
    text = json.dumps({**body, "sha256": _seal(body)}, indent=1)
    new = folder / (NAME + ".new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / NAME)
    flush_folder(folder)


def flush_folder(folder: Path) -> None:
    """Makes new names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _seal(body: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a backup and checks its seal.

    Raises:
        NoBackupError: The folder has no manifest: no backup was finished there.
        DamagedBackupError: The manifest is not what was written.
    """
    try:
        raw = (folder / NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NoBackupError(f"{folder} holds no finished backup: it has no {NAME}") from None
    try:
        body = json.loads(raw.decode())
        seal = body.pop("sha256")
        if seal != _seal(body) or _written(body, seal) != raw:
            raise ValueError
        if body.pop("format") != FORMAT:
            raise DamagedBackupError(f"{NAME} is of another format than {FORMAT}")
        return _manifest(body)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedBackupError(f"{NAME} is damaged: its seal does not hold") from None


def _written(body: dict[str, object], seal: str) -> bytes:
    return json.dumps({**body, "sha256": seal}, indent=1).encode()


def _manifest(body: dict[str, object]) -> Manifest:
    fields = dict(body)
    segments = fields.pop("segments")
    ends, ancestors = fields.pop("ends"), fields.pop("ancestors")
    return Manifest(
        **fields,  # type: ignore[arg-type] # the seal vouches for the types
        ends=tuple(ends),  # type: ignore[arg-type] # as above
        ancestors={k: tuple(v) for k, v in ancestors.items()},  # type: ignore[attr-defined] # as above
        segments=tuple(SegmentEntry(**entry) for entry in segments),  # type: ignore[attr-defined] # as above
    )
