"""The builds of views in memory: the reference of the ViewRegistry port."""

from collections.abc import Sequence

from eventspine.storage.memory.views import MemoryViewStore
from eventspine.storage.records import Build, Builds, Parked


class MemoryViewRegistry:
    """A ViewRegistry that lives as long as the process."""

    def __init__(self, views: MemoryViewStore) -> None:
        """Starts empty; parked keys are those of `views`."""
        self._views = views
        self._builds: dict[str, Builds] = {}

    async def views(self) -> list[str]:
        """Returns the names of the views that have builds, in order."""
        return sorted(view for view, builds in self._builds.items() if builds.builds)

    async def builds(self, view: str) -> Builds:
        """Returns the builds of a view, oldest first; revision 0 and none for an unknown view."""
        return self._builds.get(view, Builds(0, ()))

    async def put(self, view: str, revision: int, builds: Sequence[Build]) -> bool:
        """Replaces the builds of a view if they are still at `revision`. False: they are not."""
        if (await self.builds(view)).revision != revision:
            return False
        self._builds[view] = Builds(revision + 1, tuple(sorted(builds)))
        return True

    async def parked(self, build_id: str) -> list[Parked]:
        """Returns the parked keys of a build, in order of key and partition."""
        return self._views.parked(build_id)
