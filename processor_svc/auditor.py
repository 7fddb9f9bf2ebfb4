"""Keeps the audit going, and answers for it: one process of all audits, and all know the mark."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Literal

from eventspine.rpc.context import CallContext
from eventspine.rpc.figures import Figure, Labels
from eventspine.rpc.method import Method
from eventspine.storage.connect import Backend
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.memory.hints import MemoryAuditStore
from eventspine.storage.records import AuditMark
from eventspine.v1 import admin_pb2 as pb
from processor_svc.admin import SERVICE
from processor_svc.audit import TOLD_MAX, Audit
from processor_svc.settings import ProcessorSettings

GROUP = "auditor"
"""The group by which processes agree on who audits: the one that owns partition 0."""

TELL_SECONDS = 0.5
"""How often to tell how far an audit has come that somebody waits for."""

_log = logging.getLogger("eventspine.audit")


class Auditor:
    """Audits all the time, as long as this process owns the first partition of the group."""

    def __init__(
        self,
        backend: Backend,
        *,
        now_us: Callable[[], int],
        settings: ProcessorSettings | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Audits what a backend holds.

        Args:
            backend: Its event store is compared with its log.
            now_us: The clock.
            settings: What differs from the defaults.
            chance: Chooses which chains are recomputed; None is never the same.
        """
        self._backend = backend
        self._now_us = now_us
        self._settings = settings or ProcessorSettings()
        self._chance = chance or random.Random()
        self._store = backend.audits or MemoryAuditStore()
        self._mark = AuditMark()
        self._owner = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begins to audit."""
        self._tasks = [
            asyncio.create_task(self._follow_shares(), name="audit: own"),
            asyncio.create_task(self._run(), name="audit"),
        ]

    async def stop(self) -> None:
        """Ends; the next process begins a cycle anew."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def figures(self) -> Iterable[Figure]:
        """Returns how far the audit has come; nothing where another process audits."""
        mark = self._mark
        gauge: Literal["gauge"] = "gauge"
        counter: Literal["counter"] = "counter"
        for name, kind, text, value in (
            (
                "audited_through_seconds",
                gauge,
                "All that was stored before is in the log; seconds since 1970.",
                mark.through_us / 1e6,
            ),
            ("audit_cycles_total", counter, "Complete audits.", mark.cycles),
            (
                "audit_republished_total",
                counter,
                "Records that were missing from the log and published again.",
                mark.republished,
            ),
            (
                "audit_broken_chains",
                gauge,
                "Chains that did not hold in the last audit.",
                len(mark.broken),
            ),
        ):
            samples: Mapping[Labels, float] = {(): value} if mark.ended_us else {}
            yield Figure(f"eventspine_{name}", kind, text, (), samples)

    def methods(self) -> list[Method]:
        """Returns the methods of AdminService that it answers, to be hosted."""
        return [
            Method(
                service=SERVICE,
                name="Audit",
                request=pb.AuditRequest,
                server_stream=self.audit,
            ),
            Method(
                service=SERVICE,
                name="GetAuditStatus",
                request=pb.GetAuditStatusRequest,
                unary=self.get_audit_status,
            ),
        ]

    async def audit(
        self, _: pb.AuditRequest, context: CallContext
    ) -> AsyncIterator[pb.AuditResponse]:
        """Audits once, now and as fast as possible."""
        audit = self._audit(streams_per_second=0)
        work = asyncio.create_task(audit.run())
        try:
            while not (await asyncio.wait({work}, timeout=TELL_SECONDS))[0]:
                yield audit.answer(done=False)
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        await self._note(audit)
        yield audit.answer(done=True)

    async def get_audit_status(
        self, _: pb.GetAuditStatusRequest, context: CallContext
    ) -> pb.GetAuditStatusResponse:
        """Tells how far the audit of whichever process has come."""
        mark = await self._store.load()
        answer = pb.GetAuditStatusResponse(
            cycles=mark.cycles,
            streams=mark.streams,
            republished_records=mark.republished,
            chains=mark.chains,
            broken_streams=mark.broken,
        )
        if mark.through_us:
            answer.audited_through.FromMicroseconds(mark.through_us)
        if mark.ended_us:
            answer.end_time.FromMicroseconds(mark.ended_us)
        return answer

    async def cycle(self) -> Audit:
        """Audits once at the pace of the settings, and keeps the mark.

        Raises:
            StoreUnavailableError: Store or bus cannot answer. The mark is as it was.
            OutcomeUnknownError: The mark may have been kept.
        """
        audit = self._audit(streams_per_second=self._settings.audit_streams_per_second)
        await audit.run()
        await self._note(audit)
        return audit

    def _audit(self, *, streams_per_second: int) -> Audit:
        settings = replace(self._settings, audit_streams_per_second=streams_per_second)
        return Audit(self._backend, settings, now_us=self._now_us, chance=self._chance)

    async def _note(self, audit: Audit) -> None:
        """Adds an audit to the mark that all processes share."""
        old = await self._store.load()
        mark = AuditMark(
            through_us=max(old.through_us, audit.begin_us) if audit.complete else old.through_us,
            ended_us=max(self._now_us(), old.ended_us + 1),
            cycles=old.cycles + audit.complete,
            streams=audit.streams if audit.complete else old.streams,
            republished=old.republished + audit.republished,
            chains=old.chains + audit.chains,
            broken=tuple(one.stream for one in audit.breaks[:TOLD_MAX]),
        )
        await self._store.save(mark)
        self._mark = mark
        if audit.missing_records:
            _log.warning(
                "%d records were missing from the log, of streams such as %s; %d published again",
                audit.missing_records,
                next(iter(audit.missing)),
                audit.republished,
            )
        for broken in audit.breaks:
            _log.error(
                "version %d of stream %s %s", broken.stream_version, broken.stream, broken.problem
            )

    async def _follow_shares(self) -> None:
        async with aclosing(self._backend.bus.shares(GROUP)) as shares:
            async for owned in shares:
                if 0 in owned:
                    self._owner.set()
                else:
                    self._owner.clear()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.audit_pause_seconds)
            await self._owner.wait()
            try:
                await self.cycle()
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                _log.warning("the audit begins anew later: %s", error)
            except Exception:
                _log.exception("a defect: the audit begins anew later")
