"""Step 6: builds that have caught up follow the end of the log; promise: what is new shows soon."""

from processor_svc.rows import BuildRows
from processor_svc.turn import Projector, Stride, by_place

LIVE = Stride(read_entries_max=2_000, entries_max=2_000, rows_max=2_000)
"""How far a turn goes before it shows what it has made."""

IDLE_SECONDS = 30.0
"""How long to wait for news before looking again anyway."""


class Follower:
    """The builds of one partition that follow the end of the log, folded together."""

    def __init__(self, projector: Projector) -> None:
        """Follows with no build yet."""
        self._projector = projector
        self._builds: list[BuildRows] = []

    def join(self, rows: BuildRows) -> None:
        """Lets a build follow that has caught up."""
        self._builds.append(rows)

    async def run(self) -> None:
        """Follows until it is cancelled."""
        while True:
            await self._news()
            self._builds = [rows for rows in self._builds if rows.active]
            for group in by_place(self._builds):
                await self._projector.turn(group, LIVE)

    async def _news(self) -> None:
        """Waits until the log goes on behind a build that does not rest, or a rest is over."""
        tail, partition = self._projector.tail, self._projector.partition
        left = {rows: rows.rest.left for rows in self._builds}
        place = min((rows.reached for rows in left if not left[rows]), default=tail.end(partition))
        await tail.wait(partition, place, min([IDLE_SECONDS, *filter(None, left.values())]))
