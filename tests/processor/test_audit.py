"""The auditor finds what is not in the log and puts it there, and says what it found."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from eventspine.storage.connect import Backend, open_memory, open_sqlite
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.records import AuditMark, StreamHead
from eventspine.v1 import admin_pb2 as pb
from processor_svc.audit import Audit
from processor_svc.auditor import Auditor
from processor_svc.settings import ProcessorSettings
from tests.faults.lossy_bus import LossyBus
from tests.processor.platform import CALL, Platform, deposit, eventually
from tests.storage.until import until

QUICK = ProcessorSettings(
    audit_pause_seconds=0.01, audit_recheck_seconds=0.05, audit_confirm_seconds=30
)
BEGIN_US = 1_700_000_000_000_000


class Clock:
    """A clock that goes on by a second each time that it is read."""

    def __init__(self) -> None:
        self.time_us = BEGIN_US

    def __call__(self) -> int:
        self.time_us += 1_000_000
        return self.time_us


def auditor_of(backend: Backend, settings: ProcessorSettings = QUICK) -> Auditor:
    return Auditor(backend, now_us=Clock(), settings=settings, chance=random.Random(1))


@pytest.fixture
def bus() -> LossyBus:
    return LossyBus(partitions=3)


@pytest.fixture
async def lossy(bus: LossyBus) -> AsyncIterator[Platform]:
    """A running platform in memory whose bus can lose what is published."""
    running = Platform(replace(open_memory(partitions=3), bus=bus))
    await running.start()
    yield running
    await running.stop()


async def logged(backend: Backend) -> list[tuple[str, int]]:
    """Returns all entries of the log, by stream and version."""
    found: list[tuple[str, int]] = []
    for partition in range(len(await backend.log.ends())):
        entries = await backend.log.read(partition, limit=10_000)
        found += [(entry.stream, entry.stream_version) for entry in entries]
    return sorted(found)


async def answers(auditor: Auditor) -> list[pb.AuditResponse]:
    return [answer async for answer in auditor.audit(pb.AuditRequest(), CALL)]


async def status(auditor: Auditor) -> pb.GetAuditStatusResponse:
    return await auditor.get_audit_status(pb.GetAuditStatusRequest(), CALL)


async def test_what_the_bus_lost_is_found_and_comes_into_the_log_once(
    lossy: Platform, bus: LossyBus
) -> None:
    await lossy.deposit("a", 1, 2)
    bus.losing = True
    await lossy.deposit("a", 3, 4, 5)
    for number in range(20):
        await lossy.deposit(f"lost{number}", 1)
    bus.losing = False
    auditor = auditor_of(lossy.backend)

    audit = await auditor.cycle()

    assert audit.missing["account/a"] == (2, 5)
    assert (len(audit.missing), audit.missing_records, audit.republished) == (21, 23, 23)
    assert audit.complete
    stored = [("account/a", version) for version in range(1, 6)]
    stored += [(f"account/lost{number}", 1) for number in range(20)]
    assert await logged(lossy.backend) == sorted(stored)
    again = await auditor.cycle()
    assert (again.missing_records, again.republished, again.complete) == (0, 0, True)


async def test_what_is_published_again_says_so(lossy: Platform, bus: LossyBus) -> None:
    bus.losing = True
    await lossy.deposit("a", 1, 2)
    bus.losing = False
    await auditor_of(lossy.backend).cycle()
    assert [(e.stream_version, e.republished) for e in bus.passed] == [(1, True), (2, True)]


async def test_rows_and_log_are_whole_after_the_audit(lossy: Platform, bus: LossyBus) -> None:
    bus.losing = True
    await lossy.deposit("a", 1, 2)
    bus.losing = False
    await lossy.deposit("b", 7)
    await auditor_of(lossy.backend).cycle()
    await lossy.projected()
    assert (await lossy.balance("a"), await lossy.balance("b")) == (3, 7)


async def test_nothing_is_verified_while_the_bus_goes_on_losing(
    lossy: Platform, bus: LossyBus
) -> None:
    bus.losing = True
    await lossy.deposit("a", 1)
    auditor = auditor_of(lossy.backend, replace(QUICK, audit_confirm_seconds=0.2))

    (answer,) = [one for one in await answers(auditor) if one.done]

    assert (answer.missing_records, answer.republished_records, answer.complete) == (1, 1, False)
    assert not (await status(auditor)).HasField("audited_through")
    bus.losing = False
    assert (await auditor.cycle()).complete


async def test_it_says_up_to_when_all_is_verified_for_every_process(lossy: Platform) -> None:
    await lossy.deposit("a", 1)
    auditor, other = auditor_of(lossy.backend), auditor_of(lossy.backend)
    assert (await status(other)).cycles == 0

    audit = await auditor.cycle()

    told = await status(other)
    assert told.audited_through.ToMicroseconds() == audit.begin_us
    assert told.end_time.ToMicroseconds() > audit.begin_us
    assert (told.cycles, told.streams, told.republished_records) == (1, 1, 0)
    figures = {figure.name: figure.samples for figure in auditor.figures()}
    assert figures["eventspine_audited_through_seconds"] == {(): audit.begin_us / 1e6}
    assert all(not figure.samples for figure in other.figures())


async def test_an_audit_that_breaks_off_verifies_nothing(lossy: Platform) -> None:
    class Unreadable:
        """An event store that can be scanned once."""

        def __init__(self) -> None:
            self.scans = 0

        async def heads(self, *, after: str = "", limit: int = 500) -> list[StreamHead]:
            self.scans += 1
            if self.scans > 1:
                raise StoreUnavailableError("down", cause="test")
            return await lossy.backend.events.heads(after=after, limit=1)

    await lossy.deposit("a", 1)
    await lossy.deposit("b", 1)
    auditor = auditor_of(replace(lossy.backend, events=Unreadable()))  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailableError):
        await auditor.cycle()
    assert await lossy.backend.audits.load() == AuditMark()  # type: ignore[union-attr]


async def test_it_audits_by_itself_again_and_again(lossy: Platform, bus: LossyBus) -> None:
    auditor = auditor_of(lossy.backend)
    await auditor.start()
    try:
        for number in range(3):
            bus.losing = True
            await lossy.deposit("a", number + 1)
            bus.losing = False
            await until(lambda number=number: len(bus.passed) > number, seconds=60)  # type: ignore[misc]
    finally:
        await auditor.stop()

    async def arrived() -> bool:
        return len(await logged(lossy.backend)) >= 3

    await eventually(arrived, seconds=60)
    assert await logged(lossy.backend) == [("account/a", version) for version in (1, 2, 3)]


async def test_a_record_on_its_way_is_not_taken_for_missing(bus: LossyBus) -> None:
    platform = Platform(replace(open_memory(partitions=3), bus=bus))
    consumer = bus.consume("events", "sequencer")
    await platform.deposit("a", 1)
    audit = asyncio.create_task(auditor_of(platform.backend).cycle())
    await asyncio.sleep(0)
    await consumer.aclose()
    await platform.start()
    try:
        done = await audit
    finally:
        await platform.stop()
    assert (done.missing_records, done.republished, done.complete) == (0, 0, True)


async def test_on_every_backend_a_sound_store_is_complete(platform: Platform) -> None:
    for number in range(1_100):
        await platform.append(f"account/{number}", deposit(str(number), 1))
    (*_, answer) = await answers(auditor_of(platform.backend))
    assert (answer.streams, answer.missing_records, answer.done, answer.complete) == (
        1_100,
        0,
        True,
        True,
    )
    assert (answer.chains, list(answer.breaks)) == (10, [])


async def test_a_changed_record_in_the_sample_is_named(lossy: Platform) -> None:
    await lossy.deposit("a", 1, 2)
    events = lossy.backend.events
    kept = events._records["account/a"]  # type: ignore[attr-defined]
    kept[1] = kept[1]._replace(encoded=kept[0].encoded)

    (*_, answer) = await answers(auditor_of(lossy.backend))

    assert [(one.stream, one.stream_version) for one in answer.breaks] == [("account/a", 2)]
    assert (await status(auditor_of(lossy.backend))).broken_streams == ["account/a"]


async def test_a_store_that_sequences_itself_is_only_verified(tmp_path: Path) -> None:
    backend = await open_sqlite(tmp_path / "s.db")

    class Forgetful:
        """A log that does not show one stream."""

        async def ends(self) -> tuple[int, ...]:
            return await backend.log.ends()

        async def versions(self, streams: list[str]) -> list[int]:
            found = await backend.log.versions(streams)
            return [0 if s == "account/a" else v for s, v in zip(streams, found, strict=True)]

    platform = Platform(backend)
    await platform.deposit("a", 1)
    await platform.deposit("b", 1)
    audit = Audit(
        replace(backend, log=Forgetful()),  # type: ignore[arg-type]
        replace(QUICK, audit_chains=0),
        now_us=Clock(),
        chance=random.Random(1),
    )
    await audit.run()
    await backend.close()
    assert (audit.missing, audit.republished, audit.complete) == ({"account/a": (0, 1)}, 0, False)


async def test_the_sample_of_chains_is_as_large_as_it_shall_be(lossy: Platform) -> None:
    for number in range(30):
        await lossy.deposit(f"{number}", 1)
    audit = await auditor_of(lossy.backend, replace(QUICK, audit_chains=7)).cycle()
    assert (audit.streams, audit.chains) == (30, 7)
