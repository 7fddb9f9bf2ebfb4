"""Operations whose caller goes away in the middle: no build is folded twice, and none left out."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from eventspine.storage.connect import Backend
from eventspine.storage.errors import OutcomeUnknownError
from eventspine.storage.progress import build_id
from eventspine.storage.records import Build, ViewBatch
from eventspine.v1 import admin_pb2 as pb
from tests.processor.platform import CALL, Platform, eventually
from tests.processor.views import BALANCE, TOTALS


class HeldViews:
    """A ViewStore whose saves of one build wait until they are let go."""

    def __init__(self, views: Any) -> None:
        self._views = views
        self.held = ""
        self.waiting = asyncio.Event()
        self.let_go = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._views, name)

    async def save(self, batches: Sequence[ViewBatch]) -> None:
        if any(batch.build_id == self.held for batch in batches):
            self.waiting.set()
            await self.let_go.wait()
        await self._views.save(batches)


class LostChange:
    """A ViewRegistry that loses the first change that makes a build ready, with its answer."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry
        self.lost = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    async def put(self, view: str, revision: int, builds: Sequence[Build]) -> bool:
        if any(build.state == "ready" for build in builds) and not self.lost:
            self.lost += 1
            raise OutcomeUnknownError("the answer was lost")
        done: bool = await self._registry.put(view, revision, builds)
        return done


@pytest.mark.parametrize("operation", ["pause", "retry"])
async def test_an_operation_given_up_in_the_middle_of_a_turn_leaves_one_fold_of_the_build(
    backend: Backend, operation: str
) -> None:
    views = HeldViews(backend.views)
    platform = Platform(replace(backend, views=views))
    await platform.start()
    await platform.deposit("ann", 1)
    await platform.projected()
    views.held = build_id(BALANCE, 1)
    await platform.deposit("ann", 10)
    await views.waiting.wait()
    admin = platform.admin
    call = (
        admin.pause_view(pb.PauseViewRequest(view=BALANCE), CALL)
        if operation == "pause"
        else admin.retry_parked(pb.RetryParkedRequest(view=BALANCE), CALL)
    )
    asked = asyncio.create_task(call)
    await asyncio.sleep(0.02)
    asked.cancel()
    await asyncio.wait([asked])
    views.held = ""
    views.let_go.set()
    await admin.resume_view(pb.ResumeViewRequest(view=BALANCE), CALL)
    await platform.deposit("ann", 100)
    await platform.projected()
    assert await platform.balance("ann") == 111
    await admin.pause_view(pb.PauseViewRequest(view=BALANCE), CALL)
    await platform.deposit("ann", 1_000)
    await platform.projected(TOTALS)
    assert await platform.balance("ann") == 111
    await platform.stop()


async def test_a_build_becomes_ready_though_the_registry_could_not_tell_at_first(
    backend: Backend,
) -> None:
    registry = LostChange(backend.registry)
    platform = Platform(replace(backend, registry=registry))
    await platform.start()
    await platform.deposit("ann", 1)
    await platform.admin.build_view(pb.BuildViewRequest(view=BALANCE), CALL)

    async def ready() -> bool:
        (view,) = (await platform.admin.list_views(pb.ListViewsRequest(view=BALANCE), CALL)).views
        return bool(registry.lost) and view.builds[-1].state == pb.BUILD_STATE_READY

    await eventually(ready)
    await platform.deposit("ann", 10)
    await platform.projected(number=2)
    await platform.stop()
