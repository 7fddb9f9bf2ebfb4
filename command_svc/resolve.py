"""Beside append: an append of unknown outcome is sent again, unchanged, until the store decides.

Nothing else goes to its streams before that. Callers whose time is over are told that it is
unknown; the work goes on without them.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from command_svc.command import Command
from command_svc.lane import Batch, Settle
from command_svc.settings import CommandSettings
from eventspine.storage.connect import Backend
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.records import Append, Outcome, Replayed, Stored, StreamPlace

FIRST_PAUSE_SECONDS = 0.02

MARGIN_SECONDS = 0.2
"""How long before its deadline a caller is told that the outcome is unknown."""

_LOG = logging.getLogger(__name__)


class Resolver:
    """Finds out what became of appends."""

    def __init__(self, backend: Backend, settle: Settle, settings: CommandSettings) -> None:
        """Asks a backend; `settings` says how often, and how long callers wait."""
        self._backend = backend
        self._settle = settle
        self._wait_seconds = settings.unknown_wait_seconds
        self._pause_seconds_max = settings.resend_pause_seconds_max

    async def resolve(self, group: Sequence[Batch], appends: Sequence[Append]) -> list[Outcome]:
        """Sends the same appends again until every outcome is certain; returns them.

        `Stored` also stands for an append that an earlier sending has stored.
        """
        loop = asyncio.get_running_loop()
        ends: dict[Command, float] = {}
        pause = FIRST_PAUSE_SECONDS
        try:
            while True:
                self._answer_late(group, ends, until=loop.time() + pause)
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._pause_seconds_max)
                try:
                    outcomes = await self._backend.events.append(appends)
                    return [
                        await self._certain(append, outcome)
                        for append, outcome in zip(appends, outcomes, strict=True)
                    ]
                except (OutcomeUnknownError, StoreUnavailableError) as error:
                    _LOG.warning("%d appends of unknown outcome: %s", len(appends), error)
                except Exception:
                    # Whatever it was, they are as unknown as before.
                    _LOG.exception("%d appends of unknown outcome", len(appends))
        except asyncio.CancelledError:
            for batch in group:
                self.give_up(batch.taken)
            raise

    def give_up(self, commands: Iterable[Command]) -> None:
        """Tells the callers of commands that their outcome is unknown."""
        for command in commands:
            self._settle(command, _unknown())

    def _answer_late(
        self, group: Sequence[Batch], ends: dict[Command, float], *, until: float
    ) -> None:
        """Tells those callers whose patience is over, or whose deadline comes before `until`.

        So are those told who wait behind a batch: one of them may be the same command, sent again.

        Args:
            group: The batches of unknown outcome.
            ends: When the patience of each caller ends that has been met before; kept up.
            until: By the event loop's time.
        """
        now = asyncio.get_running_loop().time()
        for batch in group:
            waiting = batch.lane.waiting
            for command in (*batch.taken, *waiting):
                impatient = ends.setdefault(command, now + self._wait_seconds) < now
                short = command.deadline - MARGIN_SECONDS < until
                if impatient or short or command.caller.gone:
                    self._settle(command, _unknown())
            kept = [command for command in waiting if not command.settled]
            waiting.clear()
            waiting.extend(kept)
        for command in [command for command in ends if command.settled]:
            del ends[command]

    async def _certain(self, append: Append, outcome: Outcome) -> Outcome:
        """Reads the outcome of a sending that was not the first."""
        if not isinstance(outcome, Replayed) or outcome.command not in append.commands:
            return outcome
        # The very row of this append is stored, so an earlier sending of it was.
        if not append.records or not self._backend.sequences_on_append:
            return Stored(None)
        place = StreamPlace(append.stream, append.records[0].stream_version)
        try:
            (found,) = await self._backend.log.positions([place])
        except StoreUnavailableError:
            return Stored(None)
        return Stored(found.sequence if found else None)


def _unknown() -> OutcomeUnknownError:
    return OutcomeUnknownError(
        "the command may or may not have been stored; send it again with the same command id"
    )
