"""What every SnapshotStore does."""

from eventspine.storage.ports import SnapshotStore
from eventspine.storage.records import Snapshot


def snapshot(version: int, *, stream: str = "account/1", code: int = 1) -> Snapshot:
    return Snapshot(stream, version, code, bytes([version % 256]) * 32, b"state %d" % version)


class SnapshotStoreSuite:
    """A backend's file gives the fixture `snapshots`: a new, empty store."""

    async def test_a_stream_without_a_snapshot_has_none(self, snapshots: SnapshotStore) -> None:
        assert await snapshots.load("account/1") is None

    async def test_a_snapshot_comes_back_as_it_was(self, snapshots: SnapshotStore) -> None:
        await snapshots.save(snapshot(500))
        await snapshots.save(snapshot(7, stream="account/2"))
        assert await snapshots.load("account/1") == snapshot(500)
        assert await snapshots.load("account/2") == snapshot(7, stream="account/2")

    async def test_a_newer_one_replaces_an_older_one(self, snapshots: SnapshotStore) -> None:
        await snapshots.save(snapshot(500))
        await snapshots.save(snapshot(1000))
        assert await snapshots.load("account/1") == snapshot(1000)

    async def test_an_older_one_than_kept_is_dropped(self, snapshots: SnapshotStore) -> None:
        await snapshots.save(snapshot(1000))
        await snapshots.save(snapshot(500))
        assert await snapshots.load("account/1") == snapshot(1000)

    async def test_one_of_the_same_version_by_newer_code_replaces_it(
        self, snapshots: SnapshotStore
    ) -> None:
        await snapshots.save(snapshot(500))
        await snapshots.save(snapshot(500, code=2))
        assert await snapshots.load("account/1") == snapshot(500, code=2)
