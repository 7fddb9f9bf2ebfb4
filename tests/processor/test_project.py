"""Step 6 on every backend: what is stored is folded into rows, whatever happens meanwhile."""

import asyncio
import logging
import math
import time
from contextlib import aclosing

import pytest

from bank.v1 import account_pb2 as account
from eventspine.storage.connect import Backend
from eventspine.storage.progress import build_id
from eventspine.storage.records import ProgressChange, RowChange
from processor_svc.rest import REST_SECONDS_MAX, REST_SECONDS_MIN
from processor_svc.rows import BuildRows
from processor_svc.turn import Projector, Stride
from tests.processor.platform import NOW_US, Platform, eventually, with_failing_views
from tests.processor.views import BALANCE, TOTALS, declarations

POISON = 666


async def test_events_are_folded_into_the_rows_of_all_views(platform: Platform) -> None:
    await platform.deposit("ann", 100, 20)
    await platform.deposit("bob", 7)
    await platform.projected()
    await platform.projected(TOTALS)
    assert await platform.balance("ann") == 120
    assert await platform.balance("bob") == 7
    assert (await platform.row("bank", view=TOTALS)).deposited_cents == 127


async def test_an_event_may_delete_a_row_and_a_later_one_make_it_anew(platform: Platform) -> None:
    await platform.deposit("ann", 100)
    await platform.append("account/ann", account.AccountClosed(account_id="ann"))
    await platform.projected()
    assert await platform.row("ann") is None
    await platform.deposit("ann", 5)
    await platform.projected()
    assert await platform.balance("ann") == 5


async def test_records_published_twice_are_counted_once(platform: Platform) -> None:
    await platform.deposit("ann", 100)
    records = await platform.backend.events.read("account/ann")
    first = 1 if platform.backend.sequences_on_append else None
    for _ in range(3):
        await platform.publish("account/ann", records, first)
    await platform.deposit("ann", 1)
    await platform.projected()
    assert await platform.balance("ann") == 101
    assert sum(await platform.backend.log.ends()) == 2


async def test_a_later_process_goes_on_where_an_earlier_one_stopped(platform: Platform) -> None:
    await platform.deposit("ann", 100)
    await platform.projected()
    await platform.stop()
    await platform.deposit("ann", 10)
    await platform.restart()
    await platform.deposit("ann", 1)
    await platform.projected()
    assert await platform.balance("ann") == 111


async def test_a_new_build_makes_the_same_rows_as_the_one_that_followed(
    platform: Platform,
) -> None:
    for place in range(120):
        await platform.deposit(f"a{place % 37}", place)
    await platform.projected()
    await platform.processor.build(BALANCE, 1)
    await platform.state(2, "ready")
    assert await platform.rows(number=2) == await platform.rows(number=1)
    assert len(await platform.rows()) == 37


async def test_row_changes_are_told_before_the_progress_and_only_once_saved(
    platform: Platform,
) -> None:
    async with aclosing(platform.backend.bus.tail("changes")) as changes:
        await platform.deposit("ann", 100)
        told: list[RowChange | ProgressChange] = []
        async with asyncio.timeout(5):
            while ProgressChange(build_id(BALANCE, 1), 0, 1) not in told:
                told += await anext(changes)
    (row,) = [one for one in told if isinstance(one, RowChange) and one.build_id == f"{BALANCE}@1"]
    assert told.index(row) < told.index(ProgressChange(build_id(BALANCE, 1), 0, 1))
    assert await platform.backend.views.get(row.build_id, row.key) == (row.row,)


async def test_a_store_that_is_down_is_waited_for_and_parks_nothing(backend: Backend) -> None:
    failing, views = with_failing_views(backend)
    platform = Platform(failing)
    await platform.start()
    views.down = True
    await platform.deposit("ann", 100)
    await eventually(lambda: _true(views.refused >= 2))
    views.down = False
    await platform.deposit("ann", 10)
    await platform.projected()
    assert await platform.balance("ann") == 110
    assert await backend.registry.parked(build_id(BALANCE, 1)) == []
    await platform.stop()


async def test_what_was_saved_but_not_told_is_told_after_the_answer_was_lost(
    backend: Backend,
) -> None:
    failing, views = with_failing_views(backend)
    platform = Platform(failing, declarations(Platform(failing).poison, versions=(1,)))
    await platform.start()
    await platform.deposit("ann", 1)
    await platform.projected()
    await platform.projected(TOTALS)
    views.lose_next_answer = True
    async with aclosing(backend.bus.tail("changes")) as changes:
        await platform.deposit("ann", 100)
        told: list[object] = []
        async with asyncio.timeout(5):
            while ProgressChange(build_id(BALANCE, 1), 0, 2, after=1) not in told:
                told += await anext(changes)
    assert not views.lose_next_answer
    assert any(isinstance(one, RowChange) and one.row.sequence == 2 for one in told)
    assert await platform.balance("ann") == 101
    await platform.stop()


async def test_a_process_that_finds_what_another_saved_does_not_claim_to_have_told_it(
    platform: Platform,
) -> None:
    await platform.deposit("ann", 100)
    await platform.projected()
    await platform.stop()
    async with aclosing(platform.backend.bus.tail("changes")) as changes:
        await platform.restart()
        await platform.deposit("ann", 1)
        told: list[object] = []
        async with asyncio.timeout(5):
            while ProgressChange(build_id(BALANCE, 1), 0, 2, after=1) not in told:
                told += await anext(changes)
    assert ProgressChange(build_id(BALANCE, 1), 0, 1, after=1) in told


async def test_a_build_that_would_park_too_many_keys_stands_still_alone(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("ann", "bob", "cid", "dan"):
        await platform.deposit(name, POISON)
    await platform.projected()
    await platform.projected(TOTALS)
    backend, views = platform.backend, platform.declarations.views
    builds = [
        BuildRows(
            build_id(name, 9), 0, views[name].versions[1], now_us=lambda: NOW_US, parked_max=2
        )
        for name in (BALANCE, TOTALS)
    ]
    balances, totals = builds
    projector = Projector(0, platform.tail, backend.views, backend.registry, backend.bus)
    stride = Stride(read_entries_max=1, entries_max=2, rows_max=100)
    platform.poison.amounts.add(POISON)
    for reached in ([2, 2], [2, 4]):
        await projector.turn(builds, stride)
        assert [rows.progress for rows in builds] == reached
    assert len(await backend.registry.parked(balances.build_id)) == 2
    (told,) = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert f"{balances.build_id} stands still: 2 keys of partition 0 are parked" in told
    assert "version 1 of stream account/cid cannot be applied either: ValueError" in told
    assert totals.rest.left == 0 < balances.rest.left
    # With other code, or where keys were released, it goes on.
    platform.poison.amounts.clear()
    await asyncio.sleep(balances.rest.left)
    await projector.turn([balances], stride)
    assert balances.progress == 4


async def test_a_defect_of_one_build_does_not_hold_up_the_others(backend: Backend) -> None:
    failing, views = with_failing_views(backend)
    platform = Platform(failing)
    views.defect = build_id(BALANCE, 1)
    await platform.start()
    await platform.deposit("ann", 100)
    await platform.projected(TOTALS)
    assert await platform.row("ann") is None
    views.defect = ""
    await platform.projected()
    assert await platform.balance("ann") == 100
    await platform.stop()


async def test_a_build_with_a_defect_rests_longer_each_time_while_the_others_follow(
    backend: Backend,
) -> None:
    failing, views = with_failing_views(backend)
    platform = Platform(failing)
    await platform.start()
    await platform.deposit("ann", 100)
    await platform.projected()
    views.defect = build_id(BALANCE, 1)
    began = time.monotonic()
    for _ in range(40):
        await platform.deposit("bob", 1)
        await platform.projected(TOTALS)
    # The rests are 0.05, 0.1, 0.2 s and so on, up to 5 s, however often there is something new. The
    # first failure was one of the builds together.
    rested = time.monotonic() - began
    assert views.defects <= 3 + math.log2(rested / REST_SECONDS_MIN + 1) + rested / REST_SECONDS_MAX
    views.defect = ""
    await platform.projected()
    assert await platform.balance("bob") == 40
    await platform.stop()


async def test_an_event_that_cannot_be_applied_parks_its_key_and_no_other(
    platform: Platform,
) -> None:
    platform.poison.amounts.add(POISON)
    await platform.deposit("ann", 100, POISON, 1)
    await platform.deposit("bob", 7)
    await platform.deposit("ann", 2)
    await platform.projected()
    assert await platform.balance("ann") == 100
    assert await platform.balance("bob") == 7
    (parked,) = await platform.backend.registry.parked(build_id(BALANCE, 1))
    assert (parked.stream, parked.stream_version) == ("account/ann", 2)
    assert "cannot apply 666" in parked.error
    assert parked.waiting == (2, 3, 5)


async def test_an_event_that_cannot_be_decoded_is_parked_without_a_key(
    platform: Platform,
) -> None:
    class Garbage:
        DESCRIPTOR = account.MoneyDeposited.DESCRIPTOR

        def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
            return b"\xff\xff\xff"

    await platform.append("account/ann", Garbage())  # type: ignore[arg-type] # bytes on purpose
    await platform.deposit("ann", 5)
    await platform.projected()
    (parked,) = await platform.backend.registry.parked(build_id(BALANCE, 1))
    assert parked.key == b""
    assert "cannot be decoded" in parked.error
    assert await platform.balance("ann") == 5


async def test_a_build_without_its_code_serves_what_it_has_and_does_not_move(
    platform: Platform,
) -> None:
    await platform.deposit("ann", 100)
    await platform.projected()
    await platform.projected(TOTALS)
    await platform.restart(declarations(platform.poison, versions=(3,)))
    await platform.deposit("ann", 1)
    await platform.projected(TOTALS)
    assert await platform.balance("ann") == 100
    builds = (await platform.backend.registry.builds(BALANCE)).builds
    assert [(one.number, one.state) for one in builds] == [(1, "serving")]


async def _true(value: bool) -> bool:
    return value


async def test_builds_folded_together_part_where_one_fails_and_no_page_is_lost_or_twice(
    platform: Platform,
) -> None:
    amounts = [1, 2, POISON, 4, 5, 6, 7]
    for place, amount in enumerate(amounts * 3):
        await platform.deposit(f"a{place % 4}", amount)
    await platform.projected()
    await platform.projected(TOTALS)
    platform.poison.amounts.add(POISON)
    backend, views = platform.backend, platform.declarations.views
    builds = [
        BuildRows(build_id(name, 9), 0, views[name].versions[1], now_us=lambda: NOW_US)
        for name in (TOTALS, BALANCE)
    ]
    projector = Projector(0, platform.tail, backend.views, backend.registry, backend.bus)
    # The third event fails in the second page of the first stride, the 17th in the second stride.
    for reached in (10, 20, 21):
        await projector.turn(builds, Stride(read_entries_max=2, entries_max=10, rows_max=100))
        assert [rows.progress for rows in builds] == [reached] * 2
    assert await platform.rows(TOTALS, number=9) == await platform.rows(TOTALS, number=1)
    balances = [await platform.row(f"a{number}", number=9) for number in range(4)]
    assert [row and row.balance_cents for row in balances] == [14, 8, None, 18]
    parked = await backend.registry.parked(build_id(BALANCE, 9))
    assert {one.stream: one.waiting for one in parked} == {
        "account/a0": (17, 21),
        "account/a1": (10, 14, 18),
        "account/a2": (3, 7, 11, 15, 19),
    }
