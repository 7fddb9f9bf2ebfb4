"""Conditional batches of unknown outcome; promise: sent again until it is known what became.

A batch leaves a name of its own in a column that its condition compares. Sent once more, it is
carried out, or it is refused and the answer shows whose name stands there.
"""

import asyncio
from collections.abc import Sequence

from eventspine.storage.cassandra.session import CassandraSession
from eventspine.storage.cassandra.statements import Part
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError

SETTLE_SECONDS = 10.0
"""How long a batch of unknown outcome is sent again."""

_PAUSE_SECONDS_MIN = 0.05
_PAUSE_SECONDS_MAX = 1.0


async def settled(
    session: CassandraSession,
    parts: Sequence[Part],
    column: str,
    name: bytes,
    *,
    seconds: float = SETTLE_SECONDS,
) -> bool:
    """Carries out a conditional batch; False: its condition does not hold, nothing was done.

    Args:
        session: Where to.
        parts: The batch; it sets `column` to `name`, and its condition compares `column`.
        column: The column with the name of the last batch.
        name: The name of this batch, which no other one has.
        seconds: How long it is sent again while its outcome is unknown.

    Raises:
        OutcomeUnknownError: It may have been carried out, or may be later.
        StoreUnavailableError: It was not carried out.
    """
    clock = asyncio.get_running_loop().time
    until, pause, unknown = clock() + seconds, _PAUSE_SECONDS_MIN, False
    while True:
        try:
            verdict = await session.decide(*parts)
            break
        except (OutcomeUnknownError, StoreUnavailableError) as error:
            # Once it may have been carried out, a later refusal to try says nothing of that.
            unknown = unknown or isinstance(error, OutcomeUnknownError)
            if not unknown:
                raise
            if clock() > until:
                raise OutcomeUnknownError(f"it may have been carried out: {error}") from error
        await asyncio.sleep(pause)
        pause = min(pause * 2, _PAUSE_SECONDS_MAX)
    if verdict.applied or (verdict.rows and verdict.rows[0].get(column) == name):
        return True
    if unknown:
        raise OutcomeUnknownError("somebody else came next, perhaps behind a batch that was sent")
    return False
