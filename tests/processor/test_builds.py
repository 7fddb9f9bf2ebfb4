"""The life of builds on every backend: built beside, compared, switched, rolled back, retired."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bank.v1.views_pb2 import BankTotals
from eventspine.rpc.errors import InvalidRequestError, ViewNotFoundError, ViewStateError
from eventspine.storage.connect import open_memory
from eventspine.storage.errors import ProgressMovedError
from eventspine.storage.keys import encode_key
from eventspine.storage.memory.views import MemoryViewStore
from eventspine.storage.progress import build_id
from eventspine.storage.records import Build, Builds, PartialRow, ViewBatch
from eventspine.v1 import admin_pb2 as pb
from processor_svc import builds as steps
from processor_svc.compare import Side, compare
from processor_svc.named_key import key_after
from tests.processor.platform import CALL, Platform
from tests.processor.views import BALANCE, TOTALS, declarations


async def filled(platform: Platform) -> None:
    for place in range(60):
        await platform.deposit(f"a{place % 7}", place + 1)
    await platform.projected()


async def states(platform: Platform) -> list[tuple[int, str]]:
    return [
        (one.number, one.state) for one in (await platform.backend.registry.builds(BALANCE)).builds
    ]


async def built(platform: Platform, code_version: int = 0) -> int:
    request = pb.BuildViewRequest(view=BALANCE, code_version=code_version)
    number = (await platform.admin.build_view(request, CALL)).build.build
    await platform.state(number, "ready")
    return number


async def test_a_view_begins_with_one_build_of_its_newest_code_that_serves(
    platform: Platform,
) -> None:
    (view,) = (await platform.admin.list_views(pb.ListViewsRequest(view=BALANCE), CALL)).views
    (build,) = view.builds
    assert (build.build, build.code_version, build.state) == (1, 2, pb.BUILD_STATE_SERVING)
    assert build.code_present


async def test_a_new_build_is_made_beside_the_one_that_serves_and_takes_new_events(
    platform: Platform,
) -> None:
    await filled(platform)
    number = await built(platform)
    await platform.deposit("a0", 1_000)
    await platform.projected(number=1)
    await platform.projected(number=number)
    assert await platform.rows(number=number) == await platform.rows(number=1)
    assert await states(platform) == [(1, "serving"), (2, "ready")]


async def test_building_again_while_a_build_is_under_way_starts_nothing(
    platform: Platform,
) -> None:
    await filled(platform)
    assert await built(platform) == await built(platform) == 2


async def test_building_again_answers_the_build_that_waits_and_not_the_one_that_serves(
    platform: Platform,
) -> None:
    for _ in range(2):
        number = await built(platform)
        await platform.admin.switch_view(pb.SwitchViewRequest(view=BALANCE, build=number), CALL)
    assert await states(platform) == [(1, "ready"), (2, "standby"), (number, "serving")]
    answer = await platform.admin.build_view(pb.BuildViewRequest(view=BALANCE), CALL)
    assert (answer.build.build, answer.build.state) == (1, pb.BUILD_STATE_READY)


async def test_equal_builds_compare_as_the_same(platform: Platform) -> None:
    await filled(platform)
    number = await built(platform)
    found = await platform.admin.compare_view(
        pb.CompareViewRequest(view=BALANCE, build=number), CALL
    )
    assert (found.same, found.different, list(found.differences)) == (7, 0, [])
    assert [place.sequence for place in found.compared_at] == [60]
    await platform.deposit("a0", 1)
    await platform.projected(number=1)
    await platform.projected(number=number)


async def differing(platform: Platform) -> int:
    """Builds a view anew and changes three rows of that build; returns its number."""
    await filled(platform)
    number = await built(platform)
    for name in (1, number):
        await platform.admin.pause_view(pb.PauseViewRequest(view=BALANCE, build=name), CALL)
    views = platform.backend.views
    (changed,) = await views.get(build_id(BALANCE, number), encode_key(("a3",)))
    # Later than all events, since a store may let the later of two writes win.
    later = changed._replace(sequence=1000)
    planted = {
        encode_key(("a1",)): later._replace(encoded=None),
        encode_key(("a3",)): later._replace(encoded=b""),
        encode_key(("new",)): later,
    }
    await views.save([ViewBatch(build_id(BALANCE, number), 0, 60, 60, planted, {})])
    return number


def counts(found: pb.CompareViewResponse) -> tuple[int, int, int, int]:
    return found.same, found.different, found.only_serving, found.only_compared


async def test_a_comparison_finds_every_difference_and_shows_it(platform: Platform) -> None:
    number = await differing(platform)
    found = await platform.admin.compare_view(
        pb.CompareViewRequest(view=BALANCE, build=number), CALL
    )
    assert counts(found) == (5, 1, 1, 1)
    assert [json.loads(one.key_json) for one in found.differences] == [["a1"], ["a3"], ["new"]]
    assert found.differences[0].compared_json == ""
    assert json.loads(found.differences[1].serving_json)["owner"] == "a3"
    assert found.reached_key_json == ""


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9])
async def test_a_comparison_in_parts_finds_what_the_whole_one_finds(
    platform: Platform, limit: int
) -> None:
    request = pb.CompareViewRequest(view=BALANCE, build=await differing(platform))
    whole = await platform.admin.compare_view(request, CALL)
    request.limit, parts = limit, list[pb.CompareViewResponse]()
    while not parts or request.after_key_json:
        parts.append(await platform.admin.compare_view(request, CALL))
        assert sum(counts(parts[-1])) <= limit
        assert list(parts[-1].compared_at) == list(whole.compared_at)
        request.after_key_json = parts[-1].reached_key_json
    assert len(parts) <= 8 // limit + 1
    assert tuple(map(sum, zip(*map(counts, parts), strict=True))) == counts(whole)
    assert [one for part in parts for one in part.differences] == list(whole.differences)


async def test_parts_of_any_size_hold_each_key_of_either_build_once() -> None:
    seed = random.randrange(2**32)
    chance, store = random.Random(seed), MemoryViewStore()
    names = [f"{n:03}" for n in range(200)]
    builds = [dict.fromkeys(chance.sample(names, 150), 1) for _ in range(2)]
    builds[1] |= dict.fromkeys(chance.sample(names, 20), 2)
    for number, rows in enumerate(builds, 1):
        partials = {
            encode_key((name,)): PartialRow(0, 1, BankTotals(deposited_cents=n).SerializeToString())
            for name, n in rows.items()
        }
        await store.save([ViewBatch(build_id(TOTALS, number), 0, 0, 1, partials, {})])
    view = declarations(Platform(open_memory()).poison).views[TOTALS]
    sides = Side(build_id(TOTALS, 1), 1), Side(build_id(TOTALS, 2), 1)
    both = builds[0].keys() & builds[1].keys()
    same = sum(builds[0][name] == builds[1][name] for name in both)
    only = (len(builds[0]) - len(both), len(builds[1]) - len(both))
    found, after, more = (0, 0, 0, 0), b"", True
    while more:
        limit = chance.randrange(1, 40)
        part = await compare(store, view, sides, after=after, limit=limit)
        more = bool(part.reached_key_json)
        assert sum(counts(part)) == limit if more else sum(counts(part)) < limit, seed
        after = key_after(view, part.reached_key_json)
        found = tuple(map(sum, zip(found, counts(part), strict=True)))
    assert found == (same, len(both) - same, *only), seed


async def test_what_is_no_key_of_the_view_is_no_place_to_go_on_from(platform: Platform) -> None:
    number = await built(platform)
    for text in ("nonsense", '"a1"', "[]", "[1]", '["a", "b"]', "[null]", "[" * 5000):
        with pytest.raises(
            InvalidRequestError, match="send it as the last answer told it"
        ) as raised:
            request = pb.CompareViewRequest(view=BALANCE, build=number, after_key_json=text)
            await platform.admin.compare_view(request, CALL)
        assert [one.field for one in raised.value.violations] == ["after_key_json"]


async def test_code_that_only_merges_otherwise_makes_other_rows() -> None:
    store, row = MemoryViewStore(), BankTotals(bank="bank", deposited_cents=1)
    partial = PartialRow(0, 1, row.SerializeToString())
    for number in (1, 2):
        rows = {encode_key((name,)): partial for name in ("a", "b")}
        await store.save([ViewBatch(build_id(TOTALS, number), 0, 0, 1, rows, {})])
    declared = declarations(Platform(open_memory()).poison).views[TOTALS]

    def doubled(partials: Sequence[BankTotals]) -> BankTotals:
        return BankTotals(bank="bank", deposited_cents=2 * partials[0].deposited_cents)

    def none(partials: Sequence[BankTotals]) -> None:
        return None

    for merge, expected in ((declared.versions[1].merge, (2, 0)), (doubled, (0, 2))):
        versions = {1: declared.versions[1], 2: replace(declared.versions[1], merge=merge)}
        view = replace(declared, versions=versions)
        sides = Side(build_id(TOTALS, 1), 1), Side(build_id(TOTALS, 2), 2)
        found = await compare(store, view, sides)
        assert (found.same, found.different) == expected
    silent = replace(declared, versions={1: replace(declared.versions[1], merge=none)})
    found = await compare(store, silent, (Side("x", 1), Side(build_id(TOTALS, 2), 1)))
    assert found == pb.CompareViewResponse()


async def test_other_code_is_compared_switched_to_and_rolled_back(platform: Platform) -> None:
    await filled(platform)
    await platform.restart(declarations(platform.poison, versions=(2, 3)))
    number = await built(platform)
    found = await platform.admin.compare_view(
        pb.CompareViewRequest(view=BALANCE, build=number), CALL
    )
    assert (found.same, found.different) == (0, 7)
    await platform.admin.switch_view(pb.SwitchViewRequest(view=BALANCE, build=number), CALL)
    assert await states(platform) == [(1, "standby"), (2, "serving")]
    await platform.deposit("a0", 1)
    await platform.projected(number=1)
    for expected in ([(1, "serving"), (2, "standby")], [(1, "standby"), (2, "serving")]):
        await platform.admin.roll_back_view(pb.RollBackViewRequest(view=BALANCE), CALL)
        assert await states(platform) == expected


async def test_a_retired_build_is_gone_with_its_rows_and_its_number_is_not_used_again(
    platform: Platform,
) -> None:
    await filled(platform)
    number = await built(platform)
    await platform.admin.retire_view(pb.RetireViewRequest(view=BALANCE, build=number), CALL)
    assert await states(platform) == [(1, "serving")]
    assert await platform.rows(number=number) == []
    with pytest.raises(ViewNotFoundError, match="it has: 1"):
        await platform.admin.retire_view(pb.RetireViewRequest(view=BALANCE, build=number), CALL)
    with pytest.raises(ProgressMovedError):
        await platform.backend.views.save([ViewBatch(f"{BALANCE}@{number}", 0, 0, 1, {}, {})])
    assert await built(platform) > number


async def test_a_paused_build_stands_still_until_it_is_resumed(platform: Platform) -> None:
    await filled(platform)
    await platform.admin.pause_view(pb.PauseViewRequest(view=BALANCE), CALL)
    await platform.deposit("a0", 1_000)
    await platform.projected(TOTALS)
    (view,) = (await platform.admin.list_views(pb.ListViewsRequest(view=BALANCE), CALL)).views
    assert (view.builds[0].paused, view.builds[0].lag_events) == (True, 1)
    await platform.admin.resume_view(pb.ResumeViewRequest(view=BALANCE), CALL)
    await platform.projected()
    assert await platform.balance("a0") == sum(range(1, 61, 7)) + 1_000


async def test_a_build_that_was_begun_is_finished_by_the_next_process(platform: Platform) -> None:
    await filled(platform)
    await platform.processor.build(BALANCE, 0)
    await platform.restart()
    await platform.state(2, "ready")
    assert await platform.rows(number=2) == await platform.rows(number=1)


async def test_the_wrong_step_is_refused_with_its_cure(platform: Platform) -> None:
    await filled(platform)
    admin = platform.admin
    with pytest.raises(ViewNotFoundError, match="there are: bank"):
        await admin.build_view(pb.BuildViewRequest(view="no.View"), CALL)
    with pytest.raises(ViewNotFoundError, match="it has: 1, 2"):
        await admin.build_view(pb.BuildViewRequest(view=BALANCE, code_version=9), CALL)
    with pytest.raises(InvalidRequestError, match="view: is missing"):
        await admin.build_view(pb.BuildViewRequest(), CALL)
    with pytest.raises(InvalidRequestError, match="build: is missing"):
        await admin.switch_view(pb.SwitchViewRequest(view=BALANCE), CALL)
    with pytest.raises(ViewNotFoundError, match="has no build 7"):
        await admin.switch_view(pb.SwitchViewRequest(view=BALANCE, build=7), CALL)
    with pytest.raises(ViewStateError, match="keeps no build"):
        await admin.roll_back_view(pb.RollBackViewRequest(view=BALANCE), CALL)
    with pytest.raises(ViewStateError, match="switch to another one first"):
        await admin.retire_view(pb.RetireViewRequest(view=BALANCE, build=1), CALL)
    with pytest.raises(ViewStateError, match="compare another one"):
        await admin.compare_view(pb.CompareViewRequest(view=BALANCE, build=1), CALL)


def test_a_build_that_has_not_caught_up_cannot_be_switched_to() -> None:
    builds = Builds(2, (Build(1, 1, "serving", False), Build(2, 2, "building", False)))
    with pytest.raises(ViewStateError, match="wait until it is ready"):
        steps.switched("v", builds, 2)


def test_there_is_one_standby_and_it_is_the_one_that_served_last() -> None:
    three = tuple(
        Build(number, 1, state, False)
        for number, state in ((1, "standby"), (2, "serving"), (3, "ready"))
    )
    after = steps.switched("v", Builds(5, three), 3)
    assert [one.state for one in after] == ["ready", "standby", "serving"]
