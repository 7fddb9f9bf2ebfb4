"""Versions of a view: built beside the one that serves, compared, switched, and switched back."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from bank.v1 import account_pb2 as bank
from bank.v1 import views_pb2
from devstack.embedded import Embedded
from domains.bank.balances import BALANCES as CODE
from domains.bank.domain import BANK
from eventspine.domain.domain import Domain
from eventspine.domain.view import Folding, ViewEvent
from eventspine.v1 import admin_pb2 as pb
from eventspine.v1.query_pb2 import ListRowsRequest
from tests.journey.command_line import Ran, run_process
from tests.journey.conftest import BACKENDS
from tests.journey.user import BALANCES, User, collected, eventually, refusal, showing, told

SECONDS = 30.0
POISON_CENTS = 666


class Mended:
    """Whether the code of version 3 has been mended."""

    def __init__(self) -> None:
        self.yet = False


def bank_with(*versions: int, mended: Mended | None = None) -> Domain:
    """Returns the bank whose balances have some versions of their code.

    Version 1 is the one that ships; 2 writes owners in capitals; 3 cannot take 666 cents.
    """
    others = tuple(view for view in BANK.views if view is not CODE)
    return replace(BANK, views=(*others, *[_code(version, mended) for version in versions]))


def _code(version: int, mended: Mended | None) -> Any:
    keys = CODE.foldings[bank.AccountOpened].keys

    def loud(row: Any, event: ViewEvent) -> Any:
        row.owner = event.data.owner.upper()
        return row

    def poisoned(row: Any, event: ViewEvent) -> Any:
        if event.data.amount_cents == POISON_CENTS and not (mended and mended.yet):
            raise ValueError("666 cents are not for me")
        row.balance_cents += event.data.amount_cents
        return row

    changed = {
        1: {},
        2: {bank.AccountOpened: Folding(keys, loud)},
        3: {bank.MoneyDeposited: Folding(keys, poisoned)},
    }[version]
    return replace(CODE, version=version, foldings={**CODE.foldings, **changed})


@asynccontextmanager
async def served(domain: Domain, db: Path | None) -> AsyncIterator[User]:
    async with (
        Embedded([domain], db=db) as platform,
        grpc.aio.insecure_channel(platform.address) as channel,
    ):
        yield User(channel)


@pytest.fixture(params=BACKENDS)
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "events.db" if request.param == "sqlite" else None


async def builds(user: User) -> Sequence[pb.ViewBuild]:
    views = await user.admin.ListViews(pb.ListViewsRequest(view=BALANCES))
    return views.views[0].builds


async def states(user: User) -> dict[int, str]:
    return {
        build.build: pb.BuildState.Name(build.state).removeprefix("BUILD_STATE_")
        for build in await builds(user)
    }


async def ready(user: User, number: int) -> None:
    """Waits until a build has caught up."""

    async def is_ready() -> bool:
        return (await states(user))[number] == "READY"

    await eventually(is_ready)


async def rows(user: User, build: int = 0) -> dict[str, tuple[str, int]]:
    request = ListRowsRequest(view=BALANCES, build=build)
    batches = await collected(user.queries.ListRows(request))
    row, found = views_pb2.AccountBalance(), {}
    for packed in [packed for batch in batches for packed in batch.rows]:
        assert packed.Unpack(row)
        found[row.account_id] = (row.owner, row.balance_cents)
    return found


async def deposits(user: User, enough: asyncio.Event) -> int:
    """Deposits a cent again and again, each shown by the view that serves; returns how many."""
    count = 0
    while not enough.is_set():
        token = (await user.deposit("ann", 1)).token
        count += 1
        reply = await user.balance("ann", **showing(token))
        assert reply.row.balance_cents == count
    return count


async def test_a_view_is_built_compared_switched_and_rolled_back_while_commands_flow(
    db: Path | None,
) -> None:
    async with served(bank_with(1, 2), db) as user:
        await user.open("ann", owner="Ann")
        await user.open("bob", cents=7, owner="Bob")
        (first,) = await builds(user)
        assert (first.code_version, first.code_present) == (2, True)
        enough = asyncio.Event()
        flowing = asyncio.ensure_future(deposits(user, enough))
        request = pb.BuildViewRequest(view=BALANCES, code_version=1)
        second = (await user.admin.BuildView(request)).build
        # Asking again starts nothing.
        assert (await user.admin.BuildView(request)).build.build == second.build
        await ready(user, second.build)
        compare = pb.CompareViewRequest(view=BALANCES, build=second.build)
        compared = await user.admin.CompareView(compare)
        assert (compared.same, compared.different) == (0, 2)
        assert (compared.only_serving, compared.only_compared) == (0, 0)
        assert [
            (json.loads(one.key_json), json.loads(one.serving_json)["owner"])
            for one in compared.differences
        ] == [(["ann"], "ANN"), (["bob"], "BOB")]
        assert json.loads(compared.differences[1].compared_json)["owner"] == "Bob"

        await user.admin.SwitchView(pb.SwitchViewRequest(view=BALANCES, build=second.build))
        assert await states(user) == {first.build: "STANDBY", second.build: "SERVING"}
        assert (await user.balance("bob")).row.owner == "Bob"
        assert (await user.balance("bob")).result.build == second.build

        await user.admin.RollBackView(pb.RollBackViewRequest(view=BALANCES))
        assert await states(user) == {first.build: "SERVING", second.build: "STANDBY"}
        assert (await user.balance("bob")).row.owner == "BOB"
        await user.admin.RollBackView(pb.RollBackViewRequest(view=BALANCES))
        enough.set()
        count = await flowing
        assert count > 0

        # The one that served before goes on following, so that rolling back loses nothing.
        last = await user.deposit("bob", 1)
        await user.balance("bob", **showing(last.token))

        async def followed() -> bool:
            return (await rows(user, first.build))["bob"][1] == 8

        await eventually(followed)
        assert await rows(user, first.build) == {"ann": ("ANN", count), "bob": ("BOB", 8)}
        assert await rows(user) == {"ann": ("Ann", count), "bob": ("Bob", 8)}

        await user.admin.RetireView(pb.RetireViewRequest(view=BALANCES, build=first.build))
        assert await states(user) == {second.build: "SERVING"}
        error = await refusal(rows(user, first.build))
        assert told(error) == "NOT_FOUND VIEW_NOT_FOUND"
        error = await refusal(user.admin.RollBackView(pb.RollBackViewRequest(view=BALANCES)))
        assert told(error) == "FAILED_PRECONDITION VIEW_STATE"
        error = await refusal(
            user.admin.RetireView(pb.RetireViewRequest(view=BALANCES, build=second.build))
        )
        assert told(error) == "FAILED_PRECONDITION VIEW_STATE"


async def test_a_build_of_the_same_code_compares_as_the_same(db: Path | None) -> None:
    async with served(bank_with(1), db) as user:
        for number in range(30):
            await user.open(f"a{number}", cents=number + 1)
        build = (await user.admin.BuildView(pb.BuildViewRequest(view=BALANCES))).build.build
        await ready(user, build)
        compared = await user.admin.CompareView(pb.CompareViewRequest(view=BALANCES, build=build))
        assert (compared.same, compared.different, list(compared.differences)) == (30, 0, [])
        assert sum(place.sequence for place in compared.compared_at) == 60


async def test_a_build_tells_how_far_it_has_come(db: Path | None) -> None:
    async with served(bank_with(1, 2), db) as user:
        await user.open("ann", cents=1)
        build = (
            await user.admin.BuildView(pb.BuildViewRequest(view=BALANCES, code_version=1))
        ).build.build
        await ready(user, build)
        await user.admin.PauseView(pb.PauseViewRequest(view=BALANCES, build=build))
        for _ in range(5):
            token = (await user.deposit("ann", 1)).token
        await user.balance("ann", **showing(token))
        serving, paused = await builds(user)
        assert (serving.lag_events, serving.paused) == (0, False)
        assert (paused.lag_events, paused.paused) == (5, True)
        assert sum(p.sequence for p in paused.progress) == 2
        await user.admin.ResumeView(pb.ResumeViewRequest(view=BALANCES, build=build))

        async def caught_up() -> bool:
            return (await builds(user))[1].lag_events == 0

        await eventually(caught_up)
        assert await rows(user, build) == {"ann": ("Ann", 6)}


async def test_a_list_and_a_watch_live_on_over_a_switch(db: Path | None) -> None:
    async with served(bank_with(1, 2), db) as user:
        token = ""
        for name in ("ann", "bob", "cid"):
            token = (await user.open(name, cents=1, owner=name)).token
        await user.balance("cid", **showing(token))
        watch = user.balances.WatchAccountBalance(
            views_pb2.WatchAccountBalanceRequest(account_id="ann")
        )
        assert (await watch.read()).row.owner == "ANN"
        page = views_pb2.ListAccountBalancesRequest(limit=1)
        (batch,) = await collected(user.balances.ListAccountBalances(page))
        build = (
            await user.admin.BuildView(pb.BuildViewRequest(view=BALANCES, code_version=1))
        ).build.build
        await ready(user, build)
        await user.admin.SwitchView(pb.SwitchViewRequest(view=BALANCES, build=build))
        async with asyncio.timeout(SECONDS):
            assert (await watch.read()).row.owner == "ann"
        # A list that has begun goes on in the build that it began in.
        page = views_pb2.ListAccountBalancesRequest(limit=1, cursor=batch.cursor)
        (batch,) = await collected(user.balances.ListAccountBalances(page))
        assert [row.owner for row in batch.rows] == ["BOB"]
        watch.cancel()


async def test_new_code_is_deployed_built_and_taken_back_on_one_file(tmp_path: Path) -> None:
    """The way of a release: old software, new software, and the old one again."""
    db = tmp_path / "events.db"
    async with served(bank_with(1), db) as user:
        await user.open("ann", cents=5, owner="Ann")
    async with served(bank_with(1, 2), db) as user:
        # What served goes on serving: nothing that costs so much starts by itself.
        await user.deposit("ann", 1)
        assert await states(user) == {1: "SERVING"}
        build = (await user.admin.BuildView(pb.BuildViewRequest(view=BALANCES))).build
        assert build.code_version == 2
        await ready(user, build.build)
        await user.admin.SwitchView(pb.SwitchViewRequest(view=BALANCES, build=build.build))
        assert await rows(user) == {"ann": ("ANN", 6)}
    async with served(bank_with(1), db) as user:
        # The old software serves what there is, says that it cannot move it, and can go back.
        token = (await user.deposit("ann", 1)).token
        standby, serving = await builds(user)
        assert (serving.code_version, serving.code_present) == (2, False)
        assert standby.code_present
        assert await rows(user) == {"ann": ("ANN", 6)}
        await user.admin.RollBackView(pb.RollBackViewRequest(view=BALANCES))
        reply = await user.balance("ann", **showing(token))
        assert (reply.row.owner, reply.row.balance_cents) == ("Ann", 7)


async def test_a_key_that_cannot_take_an_event_is_parked_listed_and_tried_again(
    db: Path | None,
) -> None:
    mended = Mended()
    async with served(bank_with(3, mended=mended), db) as user:
        await user.open("ann", cents=1)
        await user.deposit("ann", POISON_CENTS)
        await user.deposit("ann", 2)
        token = (await user.open("bob", cents=3)).token
        # Others go on, and the view counts as having passed the bad event.
        assert (await user.balance("bob", **showing(token))).row.balance_cents == 3
        assert (await user.balance("ann")).row.balance_cents == 1
        (serving,) = await builds(user)
        assert serving.parked_keys == 1
        listed = await user.admin.ListParked(pb.ListParkedRequest(view=BALANCES))
        (key,) = listed.parked
        assert (json.loads(key.key_json), key.stream, key.stream_version) == (
            ["ann"],
            "account/ann",
            3,
        )
        assert key.waiting_events == 2
        assert "666 cents are not for me" in key.error

        retry = pb.RetryParkedRequest(view=BALANCES, key_json=key.key_json)
        done = await user.admin.RetryParked(retry)
        assert (done.released_keys, done.parked_keys) == (0, 1)
        mended.yet = True
        done = await user.admin.RetryParked(retry)
        assert (done.released_keys, done.parked_keys) == (1, 0)
        assert (await user.balance("ann")).row.balance_cents == 3 + POISON_CENTS
        token = (await user.deposit("ann", 1)).token
        assert (await user.balance("ann", **showing(token))).row.balance_cents == 4 + POISON_CENTS
        error = await refusal(user.admin.RetryParked(retry))
        assert told(error) == "NOT_FOUND ROW_NOT_FOUND"


async def test_the_command_line_tries_parked_keys_in_parts(db: Path | None) -> None:
    mended = Mended()
    async with (
        Embedded([bank_with(3, mended=mended)], db=db) as platform,
        grpc.aio.insecure_channel(platform.address) as channel,
    ):
        user = User(channel)
        for name in ("ann", "bob", "cid"):
            token = (await user.open(name, cents=POISON_CENTS)).token
            assert (await user.balance(name, **showing(token))).row.balance_cents == 0

        async def run(*arguments: str) -> Ran:
            return await asyncio.to_thread(
                run_process, "views", *arguments, address=platform.address
            )

        listed = await run("parked", BALANCES)
        assert (listed.code, len(listed.out.splitlines())) == (1, 3)
        tried = await run("retry", BALANCES, "--at-once", "1", "--json")
        assert (tried.code, tried.lines) == (1, [{"released_keys": "0", "parked_keys": "3"}])
        mended.yet = True
        done = await run("retry", BALANCES, "--at-once", "2")
        assert (done.code, done.out) == (0, "3 keys released, 0 still parked\n")
        assert await rows(user) == {name: ("Ann", POISON_CENTS) for name in ("ann", "bob", "cid")}
