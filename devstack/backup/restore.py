"""Restores a backup into an empty store file, and builds the views anew."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from devstack.backup.load import Checked, batches, check
from devstack.backup.manifest import Manifest, read_manifest
from devstack.embedded import Embedded
from devstack.progress_bar import progress_bar
from eventspine.domain.domain import Domain
from eventspine.storage.progress import build_id
from eventspine.storage.sqlite.database import SqliteDatabase
from eventspine.storage.sqlite.restore import SqliteLoader

POLL_SECONDS = 0.1


class UnfitBackupError(Exception):
    """A backup is sound, and cannot be restored there. Nothing was touched."""


class Restored(NamedTuple):
    """What a restore brought back."""

    records: int
    streams: int
    commands: int
    views: int


async def restore_backup(folder: Path, db: Path, domains: Sequence[Domain]) -> Restored:
    """Restores a backup into a store file that has no events yet.

    The whole backup is checked before the file is touched. A restore that fails later leaves a file
    that cannot be opened as a store; one that it made itself is deleted again.

    Args:
        folder: Where the backup is.
        db: The file; made where it does not exist.
        domains: Whose views are built.

    Raises:
        NoBackupError: The folder holds no finished backup. Nothing was touched.
        DamagedBackupError: Names the segment and record. Nothing was touched.
        UnfitBackupError: Its log has several partitions. Nothing was touched.
        NotEmptyError: The store has events. Nothing was changed.
        OwnedError: Another process has the file open. Nothing was changed.
        StoreFormatError: The file is no store, or cannot be made. Nothing was changed.
    """
    checked = check_backup(folder)
    partitions = len(checked.manifest.ends)
    if partitions > 1:
        raise UnfitBackupError(
            f"the backup's log has {partitions} partitions, and a file has one; restore it into a"
            " keyspace, with --stack"
        )
    commands = await _load_or_delete(folder, db, checked.manifest)
    views = await build_views(domains, db)
    return Restored(sum(checked.manifest.ends), checked.streams, commands, views)


def check_backup(folder: Path) -> Checked:
    """Reads and checks a whole backup, and shows how far it is.

    Raises:
        NoBackupError: The folder holds no finished backup.
        DamagedBackupError: Names the segment and record.
    """
    total = sum(read_manifest(folder).ends)
    with progress_bar("checking the backup", total) as bar:
        return check(folder, bar.advance)


async def _load_or_delete(folder: Path, db: Path, manifest: Manifest) -> int:
    made = not await asyncio.to_thread(db.exists)
    try:
        return await _load(folder, db, manifest)
    except BaseException:
        if made:
            _delete(db)
        raise


async def _load(folder: Path, db: Path, manifest: Manifest) -> int:
    database = SqliteDatabase.open(db)
    try:
        loader = SqliteLoader(database)
        await loader.begin()
        commands = await _fill(folder, loader, manifest)
        await loader.finish({**manifest.ancestors, manifest.store_id: manifest.ends})
    finally:
        await database.close()
    return commands


async def _fill(folder: Path, loader: SqliteLoader, manifest: Manifest) -> int:
    commands = 0
    with progress_bar("restoring events and commands", manifest.records_and_commands) as bar:
        for batch in batches(folder, manifest):
            await loader.records(batch.entries)
            await loader.commands(batch.commands)
            commands += len(batch.commands)
            bar.advance(len(batch.entries) + len(batch.commands))
    return commands


def _delete(db: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock"):
        db.with_name(db.name + suffix).unlink(missing_ok=True)


async def build_views(domains: Sequence[Domain], db: Path) -> int:
    """Runs the processor over a store file until every view has passed the end of its log.

    Views of other domains, and paused ones, which an earlier life of an empty file may have left,
    do not move and are not waited for.

    Returns:
        How many views were built.
    """
    async with Embedded(domains, db=db) as platform:
        parts = platform.parts
        end = sum(await parts.backend.log.ends())
        serving = {view: await parts.serving.serving(view) for view in parts.declarations.views}
        moving = [
            build_id(view, build.number)
            for view, build in serving.items()
            if build and not build.paused and parts.processor.code_present(view, build)
        ]
        with progress_bar("building views", end * len(moving)) as bar:
            while True:
                passed = [sum(await parts.progress.progress(name)) for name in moving]
                bar.at(sum(passed))
                if all(progress >= end for progress in passed):
                    return len(moving)
                await asyncio.sleep(POLL_SECONDS)
