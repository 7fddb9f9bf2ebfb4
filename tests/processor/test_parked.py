"""Parked keys on every backend: listed, tried again, and released in order."""

import json
import random

import pytest

from eventspine.rpc.errors import InvalidRequestError, RowNotFoundError, ViewStateError
from eventspine.v1 import admin_pb2 as pb
from processor_svc.parked import FOLD_MAX
from processor_svc.rows import WAITING_MAX
from tests.processor.platform import CALL, NOW_US, Platform
from tests.processor.views import BALANCE, TOTALS, declarations

POISON = 666
OTHER_POISON = 667


async def parked(platform: Platform) -> list[pb.ParkedKey]:
    await platform.projected()
    return list((await platform.admin.list_parked(pb.ListParkedRequest(view=BALANCE), CALL)).parked)


async def retried(platform: Platform, key_json: str = "") -> tuple[int, int]:
    request = pb.RetryParkedRequest(view=BALANCE, key_json=key_json)
    done = await platform.admin.retry_parked(request, CALL)
    return done.released_keys, done.parked_keys


async def test_a_parked_key_is_listed_with_what_is_needed_to_mend_it(platform: Platform) -> None:
    platform.poison.amounts.add(POISON)
    await platform.deposit("ann", 1, POISON, 2, 3)
    (key,) = await parked(platform)
    assert json.loads(key.key_json) == ["ann"]
    assert (key.stream, key.stream_version, key.sequence) == ("account/ann", 2, 2)
    assert (key.waiting_events, key.parked_time.ToMicroseconds()) == (3, NOW_US)
    assert "cannot apply 666" in key.error


async def test_a_parked_key_is_logged_once_with_the_event_that_parked_it(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    platform.poison.amounts.add(POISON)
    await platform.deposit("ann", 1, POISON, 2, 3)
    await parked(platform)
    lines = [record.getMessage() for record in caplog.records if record.name == "eventspine.park"]
    assert [line for line in lines if "version 2 of stream account/ann" in line] == lines
    assert len(lines) == 1


async def test_a_retry_before_anything_is_mended_leaves_the_key_parked(
    platform: Platform,
) -> None:
    platform.poison.amounts.add(POISON)
    await platform.deposit("ann", 1, POISON, 2)
    before = await parked(platform)
    assert await retried(platform) == (0, 1)
    assert await parked(platform) == before
    assert await platform.balance("ann") == 1


async def test_a_mended_key_gets_all_its_events_and_follows_again(platform: Platform) -> None:
    platform.poison.amounts.add(POISON)
    await platform.deposit("ann", 1, POISON, 2)
    await platform.deposit("bob", 5)
    assert len(await parked(platform)) == 1
    platform.poison.amounts.clear()
    assert await retried(platform) == (1, 0)
    await platform.deposit("ann", 10)
    assert await parked(platform) == []
    assert await platform.balance("ann") == 1 + POISON + 2 + 10
    assert await platform.balance("bob") == 5


async def test_a_retry_gets_as_far_as_the_next_event_that_fails(platform: Platform) -> None:
    platform.poison.amounts.update({POISON, OTHER_POISON})
    await platform.deposit("ann", 1, POISON, 2, OTHER_POISON, 3)
    await parked(platform)
    platform.poison.amounts.remove(POISON)
    assert await retried(platform) == (0, 1)
    (key,) = await parked(platform)
    assert (key.stream_version, key.waiting_events) == (4, 2)
    assert await platform.balance("ann") == 1 + POISON + 2


async def test_a_retry_of_very_many_events_stops_and_goes_on_at_any_of_them(
    platform: Platform,
) -> None:
    platform.poison.amounts.update({POISON, OTHER_POISON})
    before, after = [1] * (FOLD_MAX + 300), [1] * (FOLD_MAX + 200)
    await platform.deposit("ann", POISON, *before, OTHER_POISON, *after)
    await platform.projected()
    platform.poison.amounts.remove(POISON)
    assert await retried(platform) == (0, 1)
    (key,) = await parked(platform)
    assert (key.stream_version, key.waiting_events) == (len(before) + 2, WAITING_MAX)
    assert key.more_waiting
    assert await platform.balance("ann") == POISON + sum(before)
    platform.poison.amounts.clear()
    assert await retried(platform) == (1, 0)
    assert await platform.balance("ann") == POISON + OTHER_POISON + sum(before) + sum(after)


async def test_what_is_remembered_of_a_parked_key_is_bounded_and_all_of_it_is_applied(
    platform: Platform,
) -> None:
    platform.poison.amounts.add(POISON)
    await platform.deposit("ann", POISON)
    for _ in range(WAITING_MAX // 100 + 3):
        await platform.deposit("ann", *[1] * 100)
        await platform.deposit("bob", 2)
    (key,) = await parked(platform)
    assert (key.waiting_events, key.more_waiting) == (WAITING_MAX, True)
    await platform.restart()
    await platform.deposit("ann", 3)
    platform.poison.amounts.clear()
    await platform.projected()
    assert await retried(platform) == (1, 0)
    await platform.deposit("ann", 4)
    assert await parked(platform) == []
    assert await platform.balance("ann") == POISON + WAITING_MAX + 300 + 3 + 4
    assert await platform.balance("bob") == 2 * (WAITING_MAX // 100 + 3)


@pytest.mark.parametrize("place", [5, WAITING_MAX - 1, WAITING_MAX, WAITING_MAX + 150])
async def test_a_retry_that_fails_anywhere_loses_nothing_of_what_waits(
    platform: Platform, place: int
) -> None:
    platform.poison.amounts.update({POISON, OTHER_POISON})
    amounts = [POISON, *[1] * (WAITING_MAX + 300)]
    amounts[place] = OTHER_POISON
    await platform.deposit("ann", *amounts)
    await platform.projected()
    platform.poison.amounts.remove(POISON)
    assert await retried(platform) == (0, 1)
    (key,) = await parked(platform)
    assert key.stream_version == place + 1
    assert key.waiting_events == min(len(amounts) - place, WAITING_MAX)
    await platform.deposit("ann", 7)
    platform.poison.amounts.clear()
    await platform.projected()
    assert await retried(platform) == (1, 0)
    assert await platform.balance("ann") == sum(amounts) + 7


async def test_an_event_that_has_no_key_any_more_is_not_passed_over(platform: Platform) -> None:
    platform.poison.amounts.add(POISON)
    await platform.deposit("ann", POISON, *[1] * WAITING_MAX, OTHER_POISON, 1)
    await platform.deposit("bob", 5)
    await parked(platform)
    platform.poison.amounts.clear()
    platform.poison.keyless.add(OTHER_POISON)
    assert await retried(platform) == (0, 1)
    (key,) = await parked(platform)
    assert (key.stream_version, key.waiting_events) == (WAITING_MAX + 2, 2)
    assert await platform.balance("ann") == POISON + WAITING_MAX
    platform.poison.keyless.clear()
    assert await retried(platform) == (1, 0)
    assert await platform.balance("ann") == POISON + WAITING_MAX + OTHER_POISON + 1


async def test_more_events_without_keys_than_are_remembered_ask_for_a_new_build(
    platform: Platform,
) -> None:
    platform.poison.keyless.add(POISON)
    await platform.deposit("ann", *[POISON] * (WAITING_MAX + 10))
    (key,) = await parked(platform)
    assert (key.waiting_events, key.more_waiting) == (WAITING_MAX, True)
    assert "cannot tell the keys" in key.error
    assert "build the view anew and switch" in key.error
    platform.poison.keyless.clear()
    assert await retried(platform) == (0, 1)
    assert await parked(platform) == [key]


async def test_only_the_key_that_is_asked_for_is_tried_again(platform: Platform) -> None:
    platform.poison.amounts.add(POISON)
    await platform.deposit("ann", POISON)
    await platform.deposit("bob", POISON)
    await parked(platform)
    platform.poison.amounts.clear()
    one = pb.RetryParkedRequest(view=BALANCE, key_json='[ "bob" ]', limit=1)
    done = await platform.admin.retry_parked(one, CALL)
    assert (done.released_keys, done.parked_keys, done.reached_key_json) == (1, 1, "")
    assert await platform.balance("bob") == POISON
    assert await platform.balance("ann") is None
    with pytest.raises(RowNotFoundError, match="is not parked"):
        await retried(platform, '["bob"]')
    with pytest.raises(InvalidRequestError, match="key_json"):
        await retried(platform, "bob")


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_parked_keys_are_tried_in_parts_each_once(platform: Platform, limit: int) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    names = [f"a{n}" for n in range(7)]
    amounts = {name: [chance.choice((1, POISON, OTHER_POISON)) for _ in range(6)] for name in names}
    platform.poison.amounts.update({POISON, OTHER_POISON})
    platform.poison.keyless.add(7)
    for name in names:
        await platform.deposit(name, *amounts[name])
    await platform.deposit("none", 7)
    bad = {name for name in names if {POISON, OTHER_POISON} & {*amounts[name]}}
    assert {json.loads(key.key_json)[0] for key in (await parked(platform))[1:]} == bad, seed
    platform.poison.amounts.remove(POISON)
    platform.poison.keyless.clear()
    worse = {name for name in names if OTHER_POISON in amounts[name]}
    request, released, calls = pb.RetryParkedRequest(view=BALANCE, limit=limit), 0, 0
    while not calls or request.after_key_json:
        part = await platform.admin.retry_parked(request, CALL)
        calls, released = calls + 1, released + part.released_keys
        request.after_key_json = part.reached_key_json
    assert calls == -(-(len(bad) + 1) // limit), seed
    assert (released, part.parked_keys) == (len(bad) + 1 - len(worse), len(worse)), seed
    platform.poison.amounts.clear()
    assert await retried(platform) == (len(worse), 0), seed
    assert [await platform.balance(name) for name in names] == [
        sum(amounts[name]) for name in names
    ], seed


async def test_what_is_no_key_of_the_view_is_no_place_to_try_from(platform: Platform) -> None:
    for text in ("bob", "[1]", "{}"):
        with pytest.raises(InvalidRequestError, match="after_key_json"):
            request = pb.RetryParkedRequest(view=BALANCE, after_key_json=text)
            await platform.admin.retry_parked(request, CALL)


@pytest.mark.parametrize("text", ["bob", "[", "[" * 100_000])
async def test_a_key_that_is_no_json_is_refused_also_where_nothing_is_parked(
    platform: Platform, text: str
) -> None:
    with pytest.raises(InvalidRequestError, match="key_json"):
        await retried(platform, text)


async def test_parked_keys_and_what_waits_on_them_outlive_the_process(platform: Platform) -> None:
    platform.poison.amounts.add(POISON)
    await platform.deposit("ann", 1, POISON)
    await parked(platform)
    await platform.restart()
    await platform.deposit("ann", 2)
    (key,) = await parked(platform)
    assert key.waiting_events == 2
    platform.poison.amounts.clear()
    assert await retried(platform) == (1, 0)
    assert await platform.balance("ann") == 1 + POISON + 2


async def test_an_event_without_keys_is_applied_later_while_its_row_is_older(
    platform: Platform,
) -> None:
    platform.poison.keyless.add(POISON)
    await platform.deposit("ann", 1, POISON)
    await platform.deposit("bob", POISON, 7)
    (key,) = await parked(platform)
    assert (key.key_json, key.waiting_events) == ("[]", 2)
    assert "cannot tell the keys" in key.error
    platform.poison.keyless.clear()
    assert await retried(platform) == (0, 1)
    assert await platform.balance("ann") == 1 + POISON
    # The row of bob had its later event by then: in order it can only be made anew.
    assert await platform.balance("bob") == 7
    (key,) = await parked(platform)
    assert (key.stream, key.waiting_events) == ("account/bob", 1)
    assert "build the view anew" in key.error


async def test_a_build_without_its_code_cannot_retry(platform: Platform) -> None:
    platform.poison.amounts.add(POISON)
    await platform.deposit("ann", POISON)
    await parked(platform)
    await platform.projected(TOTALS)
    await platform.restart(declarations(platform.poison, versions=(3,)))
    with pytest.raises(ViewStateError, match="build the view anew"):
        await retried(platform)
