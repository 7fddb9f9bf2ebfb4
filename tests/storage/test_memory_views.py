"""The memory backend against the suites of ViewStore and ViewRegistry."""

import pytest

from eventspine.storage.memory.registry import MemoryViewRegistry
from eventspine.storage.memory.views import MemoryViewStore
from eventspine.storage.records import PartialRow, ViewBatch
from tests.storage.view_registry_suite import Opened, ViewRegistrySuite
from tests.storage.view_store_suite import ViewStoreSuite


class TestMemoryViewStore(ViewStoreSuite):
    @pytest.fixture
    def views(self) -> MemoryViewStore:
        return MemoryViewStore()


class TestMemoryViewRegistry(ViewRegistrySuite):
    @pytest.fixture
    def opened(self) -> Opened:
        views = MemoryViewStore()
        return Opened(views, MemoryViewRegistry(views))


async def test_partials_of_several_partitions_stand_beside_each_other() -> None:
    views = MemoryViewStore(partitions=3)
    for partition in (2, 0):
        rows = {b"k": PartialRow(partition, 5, b"%d" % partition)}
        await views.save([ViewBatch("v@1", partition, 0, 5, rows, {})])
    await views.save([ViewBatch("v@1", 0, 5, 6, {b"k": PartialRow(0, 6, None)}, {})])
    assert await views.get("v@1", b"k") == (PartialRow(2, 5, b"2"),)
    assert await views.load("v@1", 0, [b"k"]) == {b"k": PartialRow(0, 6, None)}
    assert await views.progress("v@1") == (6, 0, 5)
