"""An append of unknown outcome is sent again, unchanged, until it is known what became of it."""

import asyncio

import pytest

from eventspine.rpc.errors import StreamVersionConflictError
from eventspine.storage.connect import Backend
from eventspine.storage.errors import OutcomeUnknownError
from tests.command.bank_service import BankService, at, deposit, opening, running
from tests.command.watched_store import Fault
from tests.storage.until import settled, until


@pytest.mark.parametrize("fault", ["lost before", "lost after"])
async def test_the_caller_gets_the_answer_and_the_event_is_there_once(
    bank: BankService, fault: Fault
) -> None:
    await bank.call(opening())
    bank.store.faults += [fault, "lost before", fault]
    results = await asyncio.gather(*(bank.call(deposit()) for _ in range(5)))
    assert [result.last_version for result in results] == [2, 3, 4, 5, 6]
    assert not any(result.replayed for result in results)
    assert len(await bank.records()) == 6
    assert len({append.chain for append in bank.store.appends[1:]}) == 1


async def test_what_is_resolved_later_is_published_with_its_place(backend: Backend) -> None:
    async with running(backend) as bank:
        tail = backend.bus.tail("log" if backend.sequences_on_append else "events")
        reading = asyncio.ensure_future(anext(tail))
        await settled()
        bank.store.faults.append("lost after")
        await bank.call(opening())
        (entry,) = await asyncio.wait_for(reading, 5)
        place = 1 if backend.sequences_on_append else 0
        assert (entry.stream, entry.stream_version, entry.sequence) == ("account/a", 1, place)
        await tail.aclose()


async def test_nothing_goes_to_the_stream_before_it_is_resolved(bank: BankService) -> None:
    await bank.call(opening())
    bank.store.faults += ["lost before"] * 3
    first = asyncio.create_task(bank.call(deposit()))
    await until(lambda: len(bank.store.appends) == 2)
    others = [asyncio.create_task(bank.call(deposit())) for _ in range(3)]
    assert (await bank.call(opening("b"))).last_version == 1
    await asyncio.gather(first, *others)
    ours = [append for append in bank.store.appends if append.stream == "account/a"]
    assert len(set(ours[1:-1])) == 1
    assert [len(append.commands) for append in (ours[1], ours[-1])] == [1, 3]


async def test_a_caller_without_time_is_told_and_the_work_goes_on(backend: Backend) -> None:
    async with running(backend, unknown_wait_seconds=0.03) as bank:
        await bank.call(opening())
        bank.store.faults += ["lost before"] * 3
        sent = deposit()
        with pytest.raises(OutcomeUnknownError):
            await bank.call(sent)
        again = await bank.call(sent)
        assert again.replayed
        assert len(await bank.records()) == 2


async def test_a_caller_whose_deadline_is_near_is_told(bank: BankService) -> None:
    await bank.call(opening())
    bank.store.faults += ["lost after"]
    with pytest.raises(OutcomeUnknownError):
        await bank.call(deposit(), seconds=0.21)
    assert (await bank.call(deposit())).last_version == 3


async def test_a_lost_append_that_another_process_overtook_is_decided_again(
    backend: Backend,
) -> None:
    async with running(backend) as ours, running(backend) as theirs:
        await ours.call(opening())
        ours.store.faults += ["lost before"]
        mine = asyncio.create_task(ours.call(deposit()))
        picky = asyncio.create_task(ours.call(deposit(expected=at(2))))
        await until(lambda: len(ours.store.appends) == 2)
        await theirs.call(deposit())
        assert (await mine).last_version == 3
        with pytest.raises(StreamVersionConflictError):
            await picky


async def test_an_unforeseen_failure_of_a_later_sending_leaves_no_caller_behind(
    bank: BankService,
) -> None:
    await bank.call(opening())
    bank.store.faults += ["lost after", "disk full"]
    async with asyncio.timeout(5):
        assert (await bank.call(deposit())).last_version == 2
        assert (await bank.call(deposit())).last_version == 3


async def test_those_behind_an_unknown_outcome_are_told_in_time_and_take_up_no_room(
    backend: Backend,
) -> None:
    async with running(backend, unknown_wait_seconds=0.03, waiting_commands_max=3) as bank:
        await bank.call(opening())
        bank.store.faults += ["lost before"] * 5
        first = asyncio.create_task(bank.call(deposit()))
        await until(lambda: len(bank.store.appends) == 2)
        gone = asyncio.create_task(bank.call(deposit()))
        behind = asyncio.create_task(bank.call(deposit()))
        await settled()
        gone.cancel()
        outcomes = await asyncio.gather(first, gone, behind, return_exceptions=True)
        names = [type(outcome).__name__ for outcome in outcomes]
        assert names == ["OutcomeUnknownError", "CancelledError", "OutcomeUnknownError"]
        assert len(bank.store.faults) > 0, "the outcome is still unknown"
        assert bank.service.waiting == 0
        await until(lambda: not bank.store.faults)
        assert (await bank.call(deposit())).last_version == 3
