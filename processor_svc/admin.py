"""Answers AdminService: views and their builds, parked keys, verification and export."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from eventspine.rpc.checks import check_stream
from eventspine.rpc.context import CallContext
from eventspine.rpc.errors import (
    InvalidRequestError,
    RowNotFoundError,
    ViewStateError,
    Violation,
)
from eventspine.rpc.method import Method
from eventspine.storage.connect import Backend
from eventspine.storage.keys import decode_key, key_json
from eventspine.storage.records import Build, Builds
from eventspine.storage.tail import LogTail
from eventspine.v1 import admin_pb2 as pb
from processor_svc import builds as steps
from processor_svc.compare import Side, compare
from processor_svc.export import Export
from processor_svc.named_key import key_after, parked_after, parsed
from processor_svc.parked import retry
from processor_svc.project import Borrowed, Processor
from processor_svc.status import Status, places
from processor_svc.verify import Verification

SERVICE = "eventspine.v1.AdminService"

LAG_EVENTS_MAX = 1_000
"""How far behind a build may be that is switched to; it goes on following while that is done."""


class AdminService:
    """Operates one platform."""

    def __init__(
        self,
        backend: Backend,
        processor: Processor,
        tail: LogTail,
        *,
        now_us: Callable[[], int],
        version: str,
        tenant: str,
    ) -> None:
        """Operates what the processor folds into the backend.

        Args:
            backend: The open store.
            processor: What folds the log into its views.
            tail: The end of its log.
            now_us: The clock, for how often to tell how far a verification is.
            version: The version of the software, to be shown.
            tenant: The tenant that this process serves, to be shown.
        """
        self._backend = backend
        self._processor = processor
        self._lifecycle = processor.lifecycle
        self._status = Status(backend, processor, tail)
        self._tail = tail
        self._now_us = now_us
        self._version = version
        self._tenant = tenant

    def methods(self) -> list[Method]:
        """Returns all methods of the service, to be hosted."""
        unary: dict[Any, Any] = {
            pb.GetStatusRequest: self.get_status,
            pb.ListViewsRequest: self.list_views,
            pb.BuildViewRequest: self.build_view,
            pb.CompareViewRequest: self.compare_view,
            pb.SwitchViewRequest: self.switch_view,
            pb.RollBackViewRequest: self.roll_back_view,
            pb.RetireViewRequest: self.retire_view,
            pb.PauseViewRequest: self.pause_view,
            pb.ResumeViewRequest: self.resume_view,
            pb.ListParkedRequest: self.list_parked,
            pb.RetryParkedRequest: self.retry_parked,
        }
        streams: dict[Any, Any] = {
            pb.VerifyRequest: self.verify,
            pb.ExportRequest: self.export,
        }
        return [
            *(
                Method(service=SERVICE, name=_name(request), request=request, unary=handler)
                for request, handler in unary.items()
            ),
            *(
                Method(service=SERVICE, name=_name(request), request=request, server_stream=handler)
                for request, handler in streams.items()
            ),
        ]

    async def get_status(
        self, _: pb.GetStatusRequest, context: CallContext
    ) -> pb.GetStatusResponse:
        """Tells what this platform is."""
        identity = self._backend.identity
        return pb.GetStatusResponse(
            store_id=identity.store_id,
            backend=identity.backend,
            location=identity.location,
            tenant=self._tenant,
            ends=places(await self._backend.log.ends()),
            durability=identity.durability,
            durability_weaknesses=identity.weaknesses,
            version=self._version,
            ancestors=[
                pb.AncestorStore(store_id=store_id, ends=places(ends))
                for store_id, ends in identity.ancestors.items()
            ],
        )

    async def list_views(
        self, request: pb.ListViewsRequest, context: CallContext
    ) -> pb.ListViewsResponse:
        """Lists views with their builds."""
        names = await self._lifecycle.names()
        if request.view and request.view not in names:
            self._lifecycle.declared(request.view)
        return pb.ListViewsResponse(
            views=[
                await self._status.view(name, await self._lifecycle.builds(name))
                for name in names
                if request.view in ("", name)
            ]
        )

    async def build_view(
        self, request: pb.BuildViewRequest, context: CallContext
    ) -> pb.BuildViewResponse:
        """Starts a build, or returns the one that is under way."""
        view = _view(request)
        build = await self._processor.build(view, request.code_version)
        return pb.BuildViewResponse(build=await self._status.build(view, build))

    async def switch_view(
        self, request: pb.SwitchViewRequest, context: CallContext
    ) -> pb.SwitchViewResponse:
        """Lets a build serve that has caught up."""
        view, number = _view(request), _build(request)
        chosen = steps.found(view, (await self._builds(view)).builds, number)
        lag = await self._status.lag_events(view, chosen)
        if chosen.state != "serving" and lag > LAG_EVENTS_MAX:
            raise ViewStateError(
                f"build {number} of view {view} is {lag} events behind; wait until it is ready"
                + (", after resuming it" if chosen.paused else ""),
                state=chosen.state,
                lag_events=str(lag),
            )
        after = await self._processor.change(view, lambda now: steps.switched(view, now, number))
        return pb.SwitchViewResponse(view=await self._status.view(view, after))

    async def roll_back_view(
        self, request: pb.RollBackViewRequest, context: CallContext
    ) -> pb.RollBackViewResponse:
        """Lets the build serve again that served before, however far behind it is."""
        view = _view(request)
        after = await self._processor.change(view, lambda now: steps.rolled_back(view, now))
        return pb.RollBackViewResponse(view=await self._status.view(view, after))

    async def retire_view(
        self, request: pb.RetireViewRequest, context: CallContext
    ) -> pb.RetireViewResponse:
        """Deletes a build that does not serve."""
        view = _view(request)
        after = await self._processor.retire(view, _build(request))
        return pb.RetireViewResponse(view=await self._status.view(view, after))

    async def pause_view(
        self, request: pb.PauseViewRequest, context: CallContext
    ) -> pb.PauseViewResponse:
        """Stops folding into a build."""
        view = _view(request)
        return pb.PauseViewResponse(view=await self._paused(view, request.build, value=True))

    async def resume_view(
        self, request: pb.ResumeViewRequest, context: CallContext
    ) -> pb.ResumeViewResponse:
        """Goes on folding into a build."""
        view = _view(request)
        return pb.ResumeViewResponse(view=await self._paused(view, request.build, value=False))

    async def compare_view(
        self, request: pb.CompareViewRequest, context: CallContext
    ) -> pb.CompareViewResponse:
        """Compares a build with the one that serves; both stand still meanwhile."""
        view, number = _view(request), _build(request)
        declaration = self._lifecycle.declared(view)
        after = key_after(declaration, request.after_key_json)
        builds = (await self._builds(view)).builds
        serving, compared = steps.found(view, builds, 0), steps.found(view, builds, number)
        if compared.state in ("serving", "building"):
            lag = await self._status.lag_events(view, compared)
            behind = f"is building and {lag} events behind; wait"
            why = "serves; compare another one" if compared.state == "serving" else behind
            raise ViewStateError(
                f"build {number} of view {view} {why}",
                state=compared.state,
            )
        async with self._processor.borrow(view, serving, compared) as borrowed:
            ends = await self._aligned((serving, compared), borrowed)
            sides = [
                Side(one.build_id, build.code_version)
                for one, build in zip(borrowed, (serving, compared), strict=True)
            ]
            answer = await compare(
                self._backend.views,
                declaration,
                (sides[0], sides[1]),
                after=after,
                limit=request.limit,
            )
        answer.compared_at.extend(places(ends))
        return answer

    async def list_parked(
        self, request: pb.ListParkedRequest, context: CallContext
    ) -> pb.ListParkedResponse:
        """Lists the parked keys of a build."""
        view = _view(request)
        build = steps.found(view, (await self._builds(view)).builds, request.build)
        return pb.ListParkedResponse(parked=await self._status.parked(view, build))

    async def retry_parked(
        self, request: pb.RetryParkedRequest, context: CallContext
    ) -> pb.RetryParkedResponse:
        """Applies the waiting events of parked keys again."""
        view = _view(request)
        build = steps.found(view, (await self._builds(view)).builds, request.build)
        if not self._processor.code_present(view, build):
            raise ViewStateError(
                f"build {build.number} of view {view} was made by code version "
                f"{build.code_version}, which is not declared; build the view anew",
                state=build.state,
            )
        async with self._processor.borrow(view, build) as (borrowed,):
            return await self._retried(view, borrowed, request)

    async def verify(
        self, request: pb.VerifyRequest, context: CallContext
    ) -> AsyncIterator[pb.VerifyResponse]:
        """Recomputes hash chains."""
        if request.stream:
            check_stream("stream", request.stream)
        backend = self._backend
        log = backend.log if backend.sequences_on_append else None
        verification = Verification(backend.events, log, now_us=self._now_us)
        async for message in verification.run(request.stream):
            yield message

    async def export(
        self, request: pb.ExportRequest, context: CallContext
    ) -> AsyncIterator[pb.ExportResponse]:
        """Sends what a backup needs."""
        backend = self._backend
        export = Export(
            backend.events,
            backend.log,
            self._tail,
            sequences_on_append=backend.sequences_on_append,
        )
        async for message in export.run(request):
            yield message

    async def _builds(self, view: str) -> Builds:
        self._lifecycle.declared(view)
        return await self._lifecycle.builds(view)

    async def _paused(self, view: str, number: int, *, value: bool) -> pb.ViewStatus:
        after = await self._processor.change(
            view, lambda now: steps.paused(view, now, number, value=value)
        )
        if value:
            await self._processor.share.others_look()
        return await self._status.view(view, after)

    async def _aligned(
        self, builds: Sequence[Build], borrowed: Sequence[Borrowed]
    ) -> tuple[int, ...]:
        """Brings borrowed builds to the same place of the log and returns it."""
        at = [
            tuple(rows.reached for rows in one.rows)
            or await self._backend.views.progress(one.build_id)
            for one in borrowed
        ]
        ends = tuple(max(sequences) for sequences in zip(*at, strict=True))
        for build, one, progress in zip(builds, borrowed, at, strict=True):
            if progress != ends and (build.paused or not one.rows):
                cure = "resume it" if one.rows else "declare its code version too"
                raise ViewStateError(
                    f"{one.build_id} does not move and is behind the other build; {cure}",
                    state=build.state,
                )
            for rows in one.rows:
                await self._processor.advance(rows, ends[rows.partition])
        return ends

    async def _retried(
        self, view: str, borrowed: Borrowed, request: pb.RetryParkedRequest
    ) -> pb.RetryParkedResponse:
        parked = self._chosen(view, borrowed, request)
        chosen = parked[: request.limit or None]
        for rows in borrowed.rows:
            keys = [key for key in chosen if rows.is_parked(key)]
            projector = self._processor.projector(rows.partition)
            await retry(rows, keys, self._backend.log, projector)
        still = _parked(borrowed)
        answer = pb.RetryParkedResponse(
            released_keys=len(set(chosen) - still), parked_keys=len(still)
        )
        if len(chosen) < len(parked):
            answer.reached_key_json = key_json(decode_key(chosen[-1]))
        return answer

    def _chosen(self, view: str, borrowed: Borrowed, request: pb.RetryParkedRequest) -> list[bytes]:
        """Returns the parked keys that a request means, whatever its limit, in order."""
        parked = sorted(_parked(borrowed))
        if request.key_json:
            wanted = parsed(request.key_json)
            parked = [key for key in parked if json.loads(key_json(decode_key(key))) == wanted]
            if not parked:
                raise RowNotFoundError(
                    f"key {request.key_json} of {borrowed.build_id} is not parked; ListParked"
                    " tells which are"
                )
        if request.after_key_json:
            after = parked_after(self._lifecycle.declared(view), request.after_key_json)
            parked = [key for key in parked if key > after]
        return parked


def _parked(borrowed: Borrowed) -> set[bytes]:
    """Returns the keys that are parked in any partition of the log."""
    return {key for rows in borrowed.rows for key in rows.parked_keys()}


def _name(request: Any) -> str:
    return str(request.DESCRIPTOR.name).removesuffix("Request")


def _view(request: Any) -> str:
    """Returns the view that a request names."""
    if not request.view:
        raise InvalidRequestError(
            Violation("view", "is missing; send the full name of a view's row message")
        )
    return str(request.view)


def _build(request: Any) -> int:
    """Returns the build that a request has to name."""
    if request.build == 0:
        raise InvalidRequestError(
            Violation("build", "is missing; send a number from 1, as ListViews tells them")
        )
    return int(request.build)
