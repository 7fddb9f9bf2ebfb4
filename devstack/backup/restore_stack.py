"""Restores a backup into a keyspace, and what the bus still holds behind it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from devstack.backup.load import Checked, batches
from devstack.backup.recover import Recovered, recovered
from devstack.backup.restore import UnfitBackupError, check_backup
from devstack.progress_bar import progress_bar
from eventspine.storage.cassandra.restore import CassandraLoader, loading
from eventspine.storage.errors import RestoreOrderError
from eventspine.storage.kafka.remains import Remains, remains, remove_topics
from eventspine.storage.kafka.settings import CHANNELS, bus_settings
from eventspine.storage.records import LogEntry
from eventspine.storage.stack import DEFAULT_TENANT, StackSettings

BATCH = 2_000


class RestoredStack(NamedTuple):
    """What a restore brought back.

    Attributes:
        records: From the backup.
        streams: In all; each was read again, and its chain recomputed.
        commands: What is remembered of commands, from the backup.
        recovered: Records behind the backup that the bus still held, or that a restore that was cut
            off has loaded from it.
        unfit: Records that the bus held and that do not follow: one between is gone.
    """

    records: int
    streams: int
    commands: int
    recovered: int
    unfit: int


async def restore_stack(folder: Path, settings: StackSettings, *, recover: bool) -> RestoredStack:
    """Restores a backup into a keyspace where its tenant has no events, and empties its topics.

    The whole backup is checked before anything is touched. Running services notice that the store
    is another one, and begin again; their processors build the views anew. A restore that fails
    later leaves a tenant whose store no service opens; restored once more, the same backup goes on
    where that one was cut off.

    Args:
        folder: Where the backup is.
        settings: The keyspace and the topics; the keyspace is made where it does not exist.
        recover: Whether to load also what the topics still hold.

    Raises:
        NoBackupError: The folder holds no finished backup. Nothing was touched.
        DamagedBackupError: Names the segment and record. Nothing was touched.
        UnfitBackupError: The backup is of another tenant. Nothing was touched.
        NotEmptyError: The tenant has events there, and not from a restore that was cut off. Nothing
            was changed.
        StackSetupError: Cassandra cannot be reached, or the keyspace is otherwise.
        RestoreOrderError: Another process restores the same tenant, or one that was cut off was of
            another backup or loaded later events too; the keyspace holds a part.
        StoreUnavailableError: Cassandra or Kafka cannot answer; the keyspace may hold a part.
    """
    checked = check_backup(folder)
    manifest = checked.manifest
    tenant = settings.tenant or DEFAULT_TENANT
    if manifest.tenant != tenant:
        raise UnfitBackupError(
            f"the backup is of tenant {manifest.tenant!r}, and the settings say {tenant!r}; set"
            " EVENTSPINE_TENANT to the backup's"
        )
    settings = replace(settings, partitions=len(manifest.ends))
    bus = bus_settings(settings, len(manifest.ends))
    left = await asyncio.to_thread(remains, bus) if recover else Remains([], [])
    async with loading(settings) as loader:
        behind = await loader.behind(manifest.ends)
        if behind and not recover:
            raise RestoreOrderError(
                "a restore that was cut off has loaded events that came after this backup; say"
                " --recover, as it did"
            )
        found = recovered(checked.chains, manifest.ends, left.log, left.events, behind)
        commands = await _load(loader, folder, checked, found)
        with progress_bar("verifying streams", loader.streams) as bar:
            await loader.verify(bar.advance)
        await asyncio.to_thread(remove_topics, bus, CHANNELS)
        await loader.finish({**manifest.ancestors, manifest.store_id: found.ends})
    later, unfit = len(found.entries), found.unfit
    return RestoredStack(sum(manifest.ends), loader.streams, commands, later, unfit)


async def _load(loader: CassandraLoader, folder: Path, checked: Checked, found: Recovered) -> int:
    commands = 0
    total = checked.manifest.records_and_commands + len(found.entries)
    with progress_bar("restoring events and commands", total) as bar:
        for batch in batches(folder, checked.manifest):
            await loader.records(batch.entries)
            await loader.commands(batch.commands)
            commands += len(batch.commands)
            bar.advance(len(batch.entries) + len(batch.commands))
        for entries in _parts(found.entries):
            await loader.records(entries)
            bar.advance(len(entries))
        await loader.commands(found.commands)
    return commands


def _parts(entries: Sequence[LogEntry]) -> list[Sequence[LogEntry]]:
    return [entries[first : first + BATCH] for first in range(0, len(entries), BATCH)]
