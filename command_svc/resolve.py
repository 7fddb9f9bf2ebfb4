"""Beside append: an append of unknown outcome is sent again, unchanged, until the store decides.

Nothing else goes to its streams before that. Callers whose time is over are told that it is
unknown; the work goes on without them.
"""

import asyncio
import logging
from collections.abc import Sequence

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
        patience = loop.time() + self._wait_seconds
        pause = FIRST_PAUSE_SECONDS
        try:
            while True:
                self._answer_late(group, loop.time() + pause, patience)
                await asyncio.sleep(pause)
                pause = min(pause * 2, self._pause_seconds_max)
                try:
                    outcomes = await self._backend.events.append(appends)
                except (OutcomeUnknownError, StoreUnavailableError) as error:
                    _LOG.warning("%d appends of unknown outcome: %s", len(appends), error)
                else:
                    return [
                        await self._certain(append, outcome)
                        for append, outcome in zip(appends, outcomes, strict=True)
                    ]
        except asyncio.CancelledError:
            self.give_up(group)
            raise

    def give_up(self, group: Sequence[Batch]) -> None:
        """Tells all callers of a group that its outcome is unknown."""
        for batch in group:
            for command in batch.taken:
                self._settle(command, _unknown())

    def _answer_late(self, group: Sequence[Batch], until: float, patience: float) -> None:
        """Tells those callers whose time is over before `until`."""
        for batch in group:
            for command in batch.taken:
                if not command.settled and min(patience, command.deadline - MARGIN_SECONDS) < until:
                    self._settle(command, _unknown())

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
