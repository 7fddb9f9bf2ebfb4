"""Compares clocks; promise: a process whose clock is far off does not begin to stamp events.

Nothing that is promised of order or durability rests on a clock. Append times do, and with them the
place where a subscription by time begins, which allows for writers that differ by a minute.
"""

from collections.abc import Callable

from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.errors import StackSetupError

SKEW_SECONDS_MAX = 30.0
"""How far a process's clock may be from that of a Cassandra node: two of them, from each other by
twice as much."""


async def check_clock(session: CassandraSession, now_us: Callable[[], int]) -> None:
    """Compares the clock of this process with that of the node that answers.

    Args:
        session: Any open session.
        now_us: The clock of this process: microseconds since 1970 UTC.

    Raises:
        StackSetupError: They differ by too much; however long the answer took.
        StoreUnavailableError: Cassandra cannot answer at the moment.
    """
    before = now_us()
    ((there_ms,),) = await session.read("SELECT toUnixTimestamp(now()) FROM system.local")
    after = now_us()
    ahead = (before - there_ms * 1_000) / 1e6
    behind = (there_ms * 1_000 - after) / 1e6
    if max(ahead, behind) > SKEW_SECONDS_MAX:
        which = "ahead of" if ahead > 0 else "behind"
        raise StackSetupError(
            f"the clock of this process is {max(ahead, behind):,.0f} s {which} that of Cassandra;"
            " set the clocks of both by NTP, and start again"
        )
