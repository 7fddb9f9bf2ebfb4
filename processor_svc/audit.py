"""Beside sequence: an audit; promise: every stored record comes into the log, whatever was lost.

It walks through the heads of all streams and compares each with what the log has. What stays
missing is published again, marked as republished. So nothing depends on what the bus or a dead
process once knew. A store that sequences as it appends is only verified: nothing can be missing
from its log, and nobody could put it there.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from eventspine.storage.connect import Backend
from eventspine.storage.records import StreamHead
from eventspine.storage.republish import behind, republish
from eventspine.v1 import admin_pb2 as pb
from processor_svc.settings import ProcessorSettings
from processor_svc.verify import Verification

HEADS_AT_ONCE = 500
"""How many streams are compared at a time."""

SUSPECTS_MAX = 10_000
"""How many streams that seem to lack something are kept before they are looked at again."""

TOLD_MAX = 100
"""How many streams with missing records, and how many broken chains, are named."""

CHAIN_RECORDS_MAX = 10_000
"""Streams with more records are left out of the sample of chains; `verify` takes them all."""


class Audit:
    """One walk through all streams.

    Attributes:
        begin_us: When it began, in microseconds since 1970 UTC.
        streams: How many streams it has compared.
        missing: By stream, the version that the log had last, and the one that was stored.
        missing_records: How many records were missing, also those of streams that are not named.
        republished: How many records it has published again.
        complete: Whether all that was stored at its beginning is in the log; False until then.
        chains: How many chains it has recomputed.
        breaks: The chains that do not hold.
    """

    def __init__(
        self,
        backend: Backend,
        settings: ProcessorSettings,
        *,
        now_us: Callable[[], int],
        chance: random.Random,
    ) -> None:
        """Audits what a backend holds; `chance` chooses the sample of chains."""
        self._backend = backend
        self._settings = settings
        self._now_us = now_us
        self._chance = chance
        self._partitions = 0
        self._sample: list[StreamHead] = []
        self._seen = 0
        self._suspects: dict[str, int] = {}
        self.begin_us = now_us()
        self.streams = 0
        self.missing: dict[str, tuple[int, int]] = {}
        self.missing_records = 0
        self.republished = 0
        self.complete = False
        self.chains = 0
        self.breaks: list[pb.ChainBreak] = []

    async def run(self) -> None:
        """Walks once through all streams.

        Raises:
            StoreUnavailableError: Store or bus cannot answer; the audit is not complete. What was
                published again stays so.
        """
        self._partitions = len(await self._backend.log.ends())
        arrived, after = True, ""
        while heads := await self._backend.events.heads(after=after, limit=HEADS_AT_ONCE):
            after = heads[-1].stream
            await self._compare(heads)
            self._choose(heads)
            if len(self._suspects) >= SUSPECTS_MAX:
                arrived = await self._look_again() and arrived
            if self._settings.audit_streams_per_second:
                await asyncio.sleep(len(heads) / self._settings.audit_streams_per_second)
        arrived = await self._look_again() and arrived
        await self._verify_sample()
        self.complete = arrived

    async def _compare(self, heads: Sequence[StreamHead]) -> None:
        """Notes which streams seem to lack something in the log."""
        self._suspects |= {
            stream: last
            for stream, (_, last) in (await self._lacking({h[0]: h[1] for h in heads})).items()
        }
        self.streams += len(heads)

    async def _lacking(self, ends: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """Returns what the log lacks of streams up to these versions."""
        found: dict[str, tuple[int, int]] = {}
        pairs = list(ends.items())
        for first in range(0, len(pairs), HEADS_AT_ONCE):
            part = pairs[first : first + HEADS_AT_ONCE]
            versions = await self._backend.log.versions([stream for stream, _ in part])
            found |= behind(part, versions)
        return found

    async def _look_again(self) -> bool:
        """Lets the log catch up, and publishes again what it still lacks.

        Returns:
            Whether all suspects are in the log now.
        """
        suspects, self._suspects = self._suspects, {}
        lacking = await self._left_after_waiting(suspects)
        if not lacking:
            return True
        for stream, (had, last) in lacking.items():
            self.missing_records += last - had
            if len(self.missing) < TOLD_MAX:
                self.missing[stream] = (had, last)
        if self._backend.sequences_on_append:
            return False
        events, bus = self._backend.events, self._backend.bus
        for stream, versions in lacking.items():
            self.republished += await republish(events, bus, self._partitions, stream, versions)
        return await self._arrived({stream: last for stream, (_, last) in lacking.items()})

    async def _left_after_waiting(self, suspects: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """Returns what stays missing, as soon as nothing of it arrives by itself any more."""
        left, count = dict(suspects), len(suspects) + 1
        lacking: dict[str, tuple[int, int]] = {}
        while left and len(left) < count:
            count = len(left)
            await asyncio.sleep(self._settings.audit_recheck_seconds)
            lacking = await self._lacking(left)
            left = {stream: left[stream] for stream in lacking}
        return lacking

    async def _arrived(self, ends: Mapping[str, int]) -> bool:
        """Waits until the log has what was published again; False where it does not in time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.audit_confirm_seconds
        while ends := {stream: last for stream, (_, last) in (await self._lacking(ends)).items()}:
            if loop.time() >= until:
                return False
            await asyncio.sleep(min(self._settings.audit_recheck_seconds, 0.5))
        return True

    def _choose(self, heads: Iterable[StreamHead]) -> None:
        """Keeps a random sample of all streams so far, each with the same chance."""
        for head in heads:
            if head.version > CHAIN_RECORDS_MAX:
                continue
            self._seen += 1
            if len(self._sample) < self._settings.audit_chains:
                self._sample.append(head)
            elif (place := self._chance.randrange(self._seen)) < len(self._sample):
                self._sample[place] = head

    async def _verify_sample(self) -> None:
        for head in self._sample:
            verification = Verification(self._backend.events, None, now_us=self._now_us)
            async for message in verification.run(head.stream):
                if message.done:
                    self.breaks += message.breaks
            self.chains += 1

    def answer(self, *, done: bool) -> pb.AuditResponse:
        """Tells how far it has come."""
        answer = pb.AuditResponse(
            streams=self.streams,
            missing_records=self.missing_records,
            republished_records=self.republished,
            done=done,
            complete=self.complete,
            missing=[
                pb.MissingRecords(stream=stream, first_version=had + 1, last_version=last)
                for stream, (had, last) in sorted(self.missing.items())
            ],
            chains=self.chains,
            breaks=sorted(self.breaks[:TOLD_MAX], key=lambda one: one.stream),
        )
        answer.begin_time.FromMicroseconds(self.begin_us)
        return answer
