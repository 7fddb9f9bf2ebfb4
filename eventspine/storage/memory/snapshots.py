"""Snapshots, in memory; promise: the latest of each stream."""

from eventspine.storage.records import Snapshot


class MemorySnapshotStore:
    """The reference of the port `SnapshotStore`."""

    def __init__(self) -> None:
        """Starts empty."""
        self._snapshots: dict[str, Snapshot] = {}

    async def load(self, stream: str) -> Snapshot | None:
        """Returns the latest snapshot; see the port."""
        return self._snapshots.get(stream)

    async def save(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot in place of an older one; see the port."""
        kept = self._snapshots.get(snapshot.stream)
        if kept is None or kept.stream_version <= snapshot.stream_version:
            self._snapshots[snapshot.stream] = snapshot
