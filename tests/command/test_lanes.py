"""Commands of one stream go one after the other and out together; streams do not wait for others.

That no two appends of one stream are in flight is checked at the end of every test, by `running`.
"""

import asyncio
import random
from collections import Counter

import pytest

from bank.v1 import account_pb2 as pb
from eventspine.domain.errors import RefusalError
from eventspine.rpc.errors import (
    DeadlineExceededError,
    OverloadedError,
    ShuttingDownError,
)
from eventspine.storage.codec import verify
from eventspine.storage.connect import Backend
from eventspine.storage.errors import StoreUnavailableError
from eventspine.storage.records import GENESIS
from eventspine.v1.command_pb2 import AppendRequest
from tests.command.bank_service import (
    BankService,
    anyhow,
    append_request,
    deposit,
    opening,
    running,
    withdrawal,
)
from tests.storage.until import settled, until


async def test_waiting_commands_of_a_stream_are_stored_together_in_order(bank: BankService) -> None:
    await bank.call(opening())
    bank.store.open.clear()
    first = asyncio.create_task(bank.call(deposit(amount=1)))
    await until(lambda: len(bank.store.appends) == 2)
    rest = [asyncio.create_task(bank.call(deposit(amount=n))) for n in range(2, 30)]
    await settled()
    assert len(bank.store.appends) == 2
    bank.store.open.set()
    results = await asyncio.gather(first, *rest)
    assert [result.last_version for result in results] == [*range(2, 31)]
    assert len(bank.store.appends) == 3
    chain = await bank.store.read("account/a")
    assert verify("account/a", chain, GENESIS, 0) == bank.store.appends[-1].chain


async def test_streams_that_are_ready_together_go_out_in_one_call(bank: BankService) -> None:
    await bank.execute([opening(f"a{n}") for n in range(20)])
    bank.store.calls.clear()
    await bank.execute([deposit(f"a{n}") for n in range(20)])
    assert bank.store.calls == [20]


async def test_a_refusal_on_what_is_not_stored_yet_waits_and_is_decided_again(
    bank: BankService,
) -> None:
    await bank.call(opening())
    await bank.call(deposit(amount=5))
    bank.store.open.clear()
    bank.store.faults.append("unavailable")
    first = asyncio.create_task(bank.call(withdrawal(amount=5)))
    second = asyncio.create_task(bank.call(withdrawal(amount=5)))
    await until(lambda: len(bank.store.appends) == 3)
    await settled()
    assert not second.done()
    bank.store.open.set()
    with pytest.raises(StoreUnavailableError):
        await first
    # Nothing was stored, so nothing was refused either: both failed for the store's sake.
    with pytest.raises(StoreUnavailableError):
        await second
    await bank.call(withdrawal(amount=5))
    with pytest.raises(RefusalError):
        await bank.call(withdrawal(amount=5))


async def test_a_mixed_load_leaves_every_stream_whole(backend: Backend) -> None:
    chance = random.Random(7)
    names = [f"a{n}" for n in range(8)]
    async with running(backend, cached_streams_max=3, recent_commands_max=20) as bank:
        await bank.execute([opening(name) for name in names])
        sent = [
            chance.choice([deposit, withdrawal])(chance.choice(names), chance.randint(1, 9))
            for _ in range(400)
        ]
        sent += chance.choices(sent, k=100)
        outcomes = await asyncio.gather(*map(bank.call, sent), return_exceptions=True)
        stored = Counter(s.account_id for s, o in zip(sent, outcomes, strict=True) if _new(o))
        assert {type(o) for o in outcomes if isinstance(o, BaseException)} == {RefusalError}
        for name in names:
            records = await bank.store.read(f"account/{name}")
            verify(f"account/{name}", records, GENESIS, 0)
            assert len(records) == 1 + stored[name]


def _new(outcome: object) -> bool:
    return not isinstance(outcome, BaseException) and not outcome.replayed  # type: ignore[attr-defined]


async def test_a_store_that_is_unavailable_fails_what_it_had_and_nothing_later(
    bank: BankService,
) -> None:
    await bank.call(opening())
    bank.store.faults.append("unavailable")
    with pytest.raises(StoreUnavailableError):
        await bank.call(deposit())
    assert (await bank.call(deposit())).last_version == 2


async def test_an_unforeseen_failure_of_the_store_leaves_no_lane_behind(bank: BankService) -> None:
    await bank.call(opening())
    bank.store.faults.append("disk full")
    with pytest.raises(ValueError, match="nobody foresaw"):
        await bank.call(deposit())
    assert (await bank.call(deposit())).last_version == 2


async def test_a_caller_that_goes_while_waiting_stores_nothing(bank: BankService) -> None:
    await bank.call(opening())
    bank.store.open.clear()
    flying = asyncio.create_task(bank.call(deposit(amount=1)))
    await until(lambda: len(bank.store.appends) == 2)
    waiting = asyncio.create_task(bank.call(deposit(amount=2)))
    await settled()
    flying.cancel()
    waiting.cancel()
    await asyncio.gather(flying, waiting, return_exceptions=True)
    bank.store.open.set()
    assert (await bank.call(deposit(amount=3))).last_version == 3
    assert len(await bank.records()) == 3


async def test_a_deadline_that_passes_while_waiting_stores_nothing(bank: BankService) -> None:
    await bank.call(opening())
    bank.store.open.clear()
    flying = asyncio.create_task(bank.call(deposit()))
    await until(lambda: len(bank.store.appends) == 2)
    late = asyncio.create_task(bank.call(deposit(), seconds=0.01))
    end = asyncio.get_running_loop().time() + 0.02
    await until(lambda: asyncio.get_running_loop().time() > end)
    bank.store.open.set()
    await flying
    with pytest.raises(DeadlineExceededError):
        await late
    with pytest.raises(DeadlineExceededError):
        await bank.call(deposit(), seconds=-1)
    assert len(await bank.records()) == 2


async def test_more_commands_than_may_wait_are_refused(backend: Backend) -> None:
    async with running(backend, waiting_commands_max=3) as bank:
        bank.store.open.clear()
        calls = [asyncio.create_task(bank.call(opening(f"a{n}"))) for n in range(3)]
        await settled()
        with pytest.raises(OverloadedError):
            await bank.call(opening("b"))
        bank.store.open.set()
        await asyncio.gather(*calls)
        await bank.call(opening("b"))


async def test_more_bytes_than_may_wait_are_refused(backend: Backend) -> None:
    async with running(backend, waiting_bytes_max=400) as bank:
        bank.store.open.clear()
        calls = [asyncio.create_task(bank.call(large(f"a{n}", 100))) for n in range(2)]
        await settled()
        with pytest.raises(OverloadedError, match="bytes"):
            await bank.call(large("b", 100))
        bank.store.open.set()
        await asyncio.gather(*calls)
        await bank.call(large("b", 100))


async def test_large_commands_go_out_in_groups_that_are_not_too_large(backend: Backend) -> None:
    async with running(backend, group_bytes_max=250_000) as bank:
        await asyncio.gather(*(bank.call(large(f"a{n}", 100_000)) for n in range(10)))
        assert sum(bank.store.calls) == 10
        assert max(bank.store.calls) == 3


def large(account: str, size: int) -> AppendRequest:
    event = pb.AccountOpened(account_id=account, owner="x" * size)
    return append_request(event, stream=f"account/{account}", expected=anyhow())


async def test_a_stop_answers_what_is_on_its_way_and_refuses_the_rest(bank: BankService) -> None:
    await bank.call(opening())
    bank.store.open.clear()
    calls = [asyncio.create_task(bank.call(deposit())) for _ in range(5)]
    await settled()
    stop = asyncio.create_task(bank.service.stop())
    await settled()
    with pytest.raises(ShuttingDownError):
        await bank.call(deposit())
    bank.store.open.set()
    results = await asyncio.gather(*calls)
    await stop
    assert sorted(result.last_version for result in results) == [2, 3, 4, 5, 6]


async def test_a_stop_without_time_answers_that_nothing_was_stored_or_that_it_is_unknown(
    backend: Backend,
) -> None:
    async with running(backend, drain_seconds=0.01) as bank:
        await bank.call(opening())
        bank.store.open.clear()
        calls = [asyncio.create_task(bank.call(deposit())) for _ in range(1)]
        await until(lambda: len(bank.store.appends) == 2)
        calls.append(asyncio.create_task(bank.call(deposit())))
        await settled()
        await bank.service.stop()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(o).__name__ for o in outcomes] == ["OutcomeUnknownError", "ShuttingDownError"]


@pytest.mark.parametrize("turns", range(6))
async def test_a_stop_without_time_answers_whatever_was_about_to_be_sent(
    backend: Backend, turns: int
) -> None:
    async with running(backend, drain_seconds=0) as bank, asyncio.timeout(5):
        await bank.call(opening())
        call = asyncio.create_task(bank.call(deposit()))
        refused = asyncio.create_task(bank.call(deposit(amount=-1)))
        await settled(turns)
        await bank.service.stop()
        outcomes = await asyncio.gather(call, refused, return_exceptions=True)
        told = {"OutcomeUnknownError", "ShuttingDownError", "CommandResult", "RefusalError"}
        assert {type(outcome).__name__ for outcome in outcomes} <= told


async def test_two_stops_at_once_both_end(bank: BankService) -> None:
    await bank.call(opening())
    await asyncio.gather(bank.service.stop(), bank.service.stop())
