"""Step 6 from far behind: rebuild; promise: history is folded in memory, rows seldom written.

A build that is new, was paused or starts after a crash folds long strides of the log before it
saves, so a row that ten events touch is written once. Builds at the same place go on together and
share each decoded event. When a build has reached the end of the log it joins those that follow it.
"""

import asyncio
from collections.abc import Callable, Iterable

from processor_svc.rest import until_one_goes_on
from processor_svc.rows import BuildRows
from processor_svc.turn import Projector, Stride, by_place

HISTORY = Stride(read_entries_max=2_000, entries_max=100_000, rows_max=50_000)
"""How far a turn goes before it saves."""


async def catch_up(
    projector: Projector,
    builds: Iterable[BuildRows],
    joined: Callable[[BuildRows], None],
) -> None:
    """Folds history into builds until each has reached the end of the log or was taken out.

    Args:
        projector: Of the partition.
        builds: Rows of that partition.
        joined: Called once for each that has reached the end. No event comes between that and the
            call, so whoever follows the log from there on misses nothing.
    """
    behind = list(builds)
    while behind:
        for group in by_place(behind):
            await projector.turn(group, HISTORY)
        behind = [rows for rows in behind if rows.active]
        end = projector.tail.end(projector.partition)
        for rows in [rows for rows in behind if rows.opened and rows.reached >= end]:
            behind.remove(rows)
            joined(rows)
        await asyncio.sleep(until_one_goes_on(rows.rest for rows in behind))
