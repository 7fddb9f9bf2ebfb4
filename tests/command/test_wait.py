"""An answer may wait until views show its events; the events are stored in any case."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from eventspine.rpc.errors import InvalidRequestError
from eventspine.storage.connect import open_sqlite
from eventspine.storage.records import Build, ProgressChange, ViewBatch
from eventspine.v1.command_pb2 import WaitFor
from tests.command.bank_service import DECLARATIONS, BankService, deposit, opening, running
from tests.storage.until import settled

BALANCE = "bank.v1.AccountBalance"
TOTALS = "bank.v1.BankTotals"


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[BankService]:
    """A running service whose views each have a serving build, which nobody folds."""
    backend = await open_sqlite(tmp_path / "events.db")
    for view in DECLARATIONS.views:
        await backend.registry.put(view, 0, [Build(1, 1, "serving", False)])
    async with running(backend) as service:
        yield service
    await backend.close()


async def pass_event(bank: BankService, view: str, sequence: int) -> None:
    """Does what a processor does when a view has passed an event."""
    build_id = f"{view}@1"
    batch = ViewBatch(build_id, 0, sequence - 1, sequence, {}, {})
    await bank.backend.views.save([batch])
    change = ProgressChange(build_id, 0, sequence)
    await bank.backend.bus.publish("changes", 0, [change])


def wait_for(*views: str, seconds: float = 5) -> WaitFor:
    wait = WaitFor(views=views, max_wait=Duration())
    wait.max_wait.FromMilliseconds(int(seconds * 1_000))
    return wait


async def test_the_answer_comes_when_the_named_view_has_passed_the_events(
    bank: BankService,
) -> None:
    await bank.call(opening())
    call = asyncio.create_task(bank.call(deposit(wait_for=wait_for(BALANCE))))
    await pass_event(bank, BALANCE, 1)
    await settled()
    assert not call.done()
    await pass_event(bank, BALANCE, 2)
    result = await call
    assert (result.projected, result.last_version) == (True, 2)


async def test_without_a_name_every_view_counts(bank: BankService) -> None:
    call = asyncio.create_task(bank.call(opening(wait_for=wait_for())))
    for view in DECLARATIONS.views:
        assert not call.done()
        await pass_event(bank, view, 1)
        await settled()
    assert (await call).projected


async def test_a_wait_that_is_over_answers_that_nothing_is_projected(bank: BankService) -> None:
    result = await bank.call(opening(wait_for=wait_for(BALANCE, seconds=0.01)))
    assert (result.projected, result.last_version) == (False, 1)
    assert len(await bank.records()) == 1


async def test_a_deadline_ends_the_wait_too(bank: BankService) -> None:
    result = await bank.call(opening(wait_for=wait_for(BALANCE, seconds=30)), seconds=0.2)
    assert not result.projected


async def test_a_repeated_command_waits_as_the_first_one_does(bank: BankService) -> None:
    sent = opening()
    await bank.call(sent)
    await pass_event(bank, BALANCE, 1)
    sent.header.wait_for.CopyFrom(wait_for(BALANCE))
    result = await bank.call(sent)
    assert (result.replayed, result.projected) == (True, True)


async def test_commands_in_bulk_wait_one_by_one(bank: BankService) -> None:
    await pass_event(bank, BALANCE, 1)
    verdicts = await bank.execute(
        [
            opening(wait_for=wait_for(BALANCE)),
            deposit(wait_for=wait_for(BALANCE, seconds=0.01)),
            deposit(),
        ]
    )
    projected = {verdict.result.last_version: verdict.result.projected for verdict in verdicts}
    assert projected == {1: True, 2: False, 3: False}


async def test_an_unknown_view_is_refused_before_anything_is_stored(bank: BankService) -> None:
    with pytest.raises(InvalidRequestError, match=TOTALS):
        await bank.call(opening(wait_for=wait_for("bank.v1.Nothing")))
    assert bank.store.appends == []
