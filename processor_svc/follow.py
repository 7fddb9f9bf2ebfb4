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
        tail, partition = self._projector.tail, self._projector.partition
        while True:
            place = min((rows.reached for rows in self._builds), default=tail.end(partition))
            if await tail.wait(partition, place, IDLE_SECONDS):
                self._builds = [rows for rows in self._builds if rows.active]
                for group in by_place(self._builds):
                    await self._projector.turn(group, LIVE)
