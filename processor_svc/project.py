"""Step 6: project; promise: each event of the log is folded into each build once, in order.

The processor knows which builds there are, whose code it has, and which partitions of the log are
its own. Each build has its rows in each of these (`rows.py`); they catch up (`rebuild.py`), then
follow (`follow.py`), by turns (`turn.py`) that decode an event once for all of them (`decode.py`).

Several processes share the partitions. None of them tells the others what it does with builds: each
looks into the registry from time to time, and the store refuses what a process folds that has not
looked yet.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar

from eventspine.domain.declared import Declarations
from eventspine.rpc.errors import ViewStateError
from eventspine.rpc.figures import Figure
from eventspine.storage.connect import Backend
from eventspine.storage.errors import (
    OutcomeUnknownError,
    ProgressMovedError,
    StoreUnavailableError,
)
from eventspine.storage.progress import build_id
from eventspine.storage.records import Build, Builds
from eventspine.storage.tail import LogTail
from processor_svc.builds import (
    Lifecycle,
    Steps,
    begun,
    caught_up,
    retired,
    retiring,
    under_way,
)
from processor_svc.follow import Follower
from processor_svc.rebuild import HISTORY, catch_up
from processor_svc.rest import Rest
from processor_svc.rows import BuildRows, TooManyParkedError
from processor_svc.share import LOOK_SECONDS, Share
from processor_svc.turn import Projector

_log = logging.getLogger("eventspine.project")

GROUP = "projector"
"""The group by which processors share the partitions of the log."""

_Result = TypeVar("_Result")


class Borrowed(NamedTuple):
    """A build that stands still, for as long as it is borrowed.

    Attributes:
        build_id: The build, `<view>@<number>`.
        rows: Its rows, one entry a partition of the log, opened; empty without its code.
    """

    build_id: str
    rows: tuple[BuildRows, ...]


class Processor:
    """Folds the log into all builds of all views whose code this process has.

    Attributes:
        lifecycle: The builds of all views.
        share: The partitions of the log that belong to this process.
    """

    def __init__(
        self,
        declarations: Declarations,
        backend: Backend,
        tail: LogTail,
        *,
        now_us: Callable[[], int],
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Folds what the tail brings into the views of the backend.

        Args:
            declarations: The views and their code.
            backend: The open store.
            tail: The end of its log.
            now_us: The clock, for parked keys.
            look_seconds: How often to look which builds there are.
        """
        self.lifecycle = Lifecycle(declarations.views, backend.registry, backend.bus)
        self._declarations = declarations
        self._backend = backend
        self._tail = tail
        self._now_us = now_us
        self._look_seconds = look_seconds
        self._look_now = asyncio.Event()
        self.share = Share(self.lifecycle, tail, look_seconds=look_seconds)
        self._projectors: list[Projector] = []
        self._followers: list[Follower] = []
        self._builds: dict[str, tuple[BuildRows, ...]] = {}
        self._caught_up: dict[str, set[int]] = {}
        self._views: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._steps: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Makes first builds and begins to fold what comes to it. The tail must have been started.

        Raises:
            StoreUnavailableError: The builds cannot be read.
        """
        backend = self._backend
        self._projectors = [
            Projector(
                partition, self._tail, backend.views, backend.registry, backend.bus, self._look
            )
            for partition in range(self._tail.partitions)
        ]
        self._followers = [Follower(projector) for projector in self._projectors]
        for view in self._declarations.views:
            await self.lifecycle.begin(view)
        for follower in self._followers:
            self._run(follower.run(), "follow")
        self._run(self.share.follow(backend.bus.shares(GROUP), self._share_changed), "own")
        self._run(self._keep_looking(), "look for builds")

    async def stop(self) -> None:
        """Stops folding. What was not saved is folded again after the next start."""
        under_way = [*self._tasks, *self._steps]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def build(self, view: str, code_version: int) -> Build:
        """Starts a build of a code version, or returns the one that is under way.

        Raises:
            ViewNotFoundError: The view or the code version is not declared.
        """
        version = self.lifecycle.code_version(view, code_version)
        builds = await self.change(view, lambda now: begun(now, version))
        # The very first build of a view is not under way: it serves at once.
        return under_way(builds, version) or builds.builds[-1]

    async def change(self, view: str, step: Callable[[Builds], Steps]) -> Builds:
        """Takes a step with the builds of a view, and folds those that are to be folded then.

        Raises:
            ViewNotFoundError: No hosted domain declares the view.
        """
        self.lifecycle.declared(view)
        return await self._whole(self._change(view, step))

    async def retire(self, view: str, number: int) -> Builds:
        """Deletes a build with its rows; begun anew after a crash, it goes on.

        Raises:
            ViewNotFoundError: There is no such view or build.
            ViewStateError: It serves.
        """
        self.lifecycle.declared(view)
        return await self._whole(self._retire(view, number))

    @asynccontextmanager
    async def borrow(self, view: str, *builds: Build) -> AsyncIterator[tuple[Borrowed, ...]]:
        """Takes builds of a view out for as long as the context lasts; then they catch up again.

        Raises:
            ViewStateError: Another process moved them meanwhile, or too many keys are parked.
            StoreUnavailableError: Their places cannot be read.
        """
        try:
            async with self._lock(view), self.share.still(view, builds):
                for build in builds:
                    await self._take_out(build_id(view, build.number))
                borrowed = tuple([await self._borrowed(view, build) for build in builds])
                yield borrowed
                await self._check_unmoved(borrowed)
        except ProgressMovedError as error:
            raise ViewStateError(
                f"view {view} was folded by another process meanwhile ({error}); try again",
                state="moved",
            ) from error
        except TooManyParkedError as error:
            raise ViewStateError(
                f"view {view} cannot be folded: {error}", state="parked"
            ) from error
        finally:
            self._look_now.set()

    async def advance(self, rows: BuildRows, through: int) -> None:
        """Folds a borrowed build up to a place of the log.

        Raises:
            ViewStateError: It cannot get there.
            StoreUnavailableError: It came less far.
        """
        while rows.reached < through:
            before = rows.reached
            await self._projectors[rows.partition].advance([rows], HISTORY, through=through)
            if rows.reached == before:
                raise ViewStateError(
                    f"{rows.build_id} stands at {before} and cannot reach {through}; try again",
                    state="behind",
                )

    def figures(self) -> Iterable[Figure]:
        """Returns how far behind the builds are that this process folds."""
        yield Figure(
            "eventspine_view_lag_events",
            "gauge",
            "How many events of the log a build of a view has still to look at.",
            ("view", "build", "partition"),
            {
                (*name.split("@"), str(rows.partition)): max(
                    self._tail.end(rows.partition) - rows.progress, 0
                )
                for name, partitions in self._builds.items()
                for rows in partitions
            },
        )

    def projector(self, partition: int) -> Projector:
        """Returns what folds a partition of the log."""
        return self._projectors[partition]

    def code_present(self, view: str, build: Build) -> bool:
        """Tells whether this process has the code of a build."""
        declaration = self._declarations.views.get(view)
        return declaration is not None and build.code_version in declaration.versions

    async def _change(self, view: str, step: Callable[[Builds], Steps]) -> Builds:
        async with self._lock(view):
            builds = await self.lifecycle.change(view, step)
            await self._follow(view, builds)
            return builds

    async def _retire(self, view: str, number: int) -> Builds:
        async with self._lock(view):
            aside = await self.lifecycle.change(view, lambda now: retiring(view, now, number))
            await self._follow(view, aside)
            await self.share.others_look()
            await self._backend.views.drop(build_id(view, number))
            return await self.lifecycle.change(view, lambda now: retired(now, number))

    async def _whole(self, step: Coroutine[Any, Any, _Result]) -> _Result:
        """Takes a step to its end though its caller goes away: half of one must not stay."""
        task = asyncio.create_task(step, name="step")
        self._steps.add(task)
        task.add_done_callback(self._steps.discard)
        return await asyncio.shield(task)

    async def _share_changed(self, lost: frozenset[int]) -> None:
        """Gives up what no longer belongs to this process, and looks for what does now."""
        self._look_now.set()
        given_up: list[BuildRows] = []
        for name, parts in self._builds.items():
            given_up += [rows for rows in parts if rows.partition in lost]
            self._builds[name] = tuple(r for r in parts if r.partition not in lost)
        await _forget(given_up)

    async def _keep_looking(self) -> None:
        while True:
            self._look_now.clear()
            await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self._look_now.wait()

    async def _look(self) -> None:
        """Looks which builds there are, and folds those that are to be folded."""
        adopted: list[BuildRows] = []
        for view in self._declarations.views:
            lock = self._lock(view)
            if lock.locked():
                # Whoever holds it looks when it is done.
                continue
            async with lock:
                try:
                    builds = await self.lifecycle.builds(view)
                except StoreUnavailableError as error:
                    _log.warning("the builds of view %s cannot be read: %s", view, error)
                    continue
                await self._leave(view, builds)
                adopted += self._adopt(view, builds)
        # All at once, so that builds at the same place begin together and share decoded events.
        self._catch_up(adopted)

    async def _follow(self, view: str, builds: Builds) -> None:
        """Takes out what is no longer to be folded, and begins with what is."""
        await self._leave(view, builds)
        self._catch_up(self._adopt(view, builds))

    async def _leave(self, view: str, builds: Builds) -> None:
        going = {build_id(view, build.number) for build in builds.builds if not build.paused}
        for name in [name for name in self._builds if name.startswith(f"{view}@")]:
            if name not in going:
                await self._take_out(name)

    def _adopt(self, view: str, builds: Builds) -> list[BuildRows]:
        """Returns new rows for what is to be folded by this process and is not yet."""
        adopted: list[BuildRows] = []
        for build in builds.builds:
            name = build_id(view, build.number)
            if not build.paused and self.code_present(view, build):
                known = self._builds.get(name, ())
                new = self._rows(view, build, self.share.owned - {rows.partition for rows in known})
                self._builds[name] = (*known, *new)
                adopted += new
            for rows in self._builds.get(name, ()):
                rows.watched = build.state != "building"
        return adopted

    def _rows(self, view: str, build: Build, partitions: Iterable[int]) -> tuple[BuildRows, ...]:
        code = self._declarations.views[view].versions[build.code_version]
        name = build_id(view, build.number)
        return tuple(
            BuildRows(name, partition, code, now_us=self._now_us)
            for partition in sorted(partitions)
        )

    async def _take_out(self, name: str) -> None:
        self._caught_up.pop(name, None)
        await _forget(self._builds.pop(name, ()))

    async def _borrowed(self, view: str, build: Build) -> Borrowed:
        everywhere = range(self._tail.partitions)
        rows = self._rows(view, build, everywhere) if self.code_present(view, build) else ()
        for part in rows:
            await self._projectors[part.partition].open(part)
        return Borrowed(build_id(view, build.number), rows)

    async def _check_unmoved(self, borrowed: Iterable[Borrowed]) -> None:
        """Finds a process that has not looked in time, and folded what stood still.

        Raises:
            ProgressMovedError: A build is elsewhere than this process left it.
        """
        for one in borrowed:
            progress = await self._backend.views.progress(one.build_id)
            left_at = [rows.progress for rows in one.rows]
            if left_at and list(progress) + [0] * (len(left_at) - len(progress)) != left_at:
                raise ProgressMovedError(f"{one.build_id} is at {progress}, not at {left_at}")

    def _catch_up(self, builds: Iterable[BuildRows]) -> None:
        by_partition: dict[int, list[BuildRows]] = {}
        for rows in builds:
            by_partition.setdefault(rows.partition, []).append(rows)
        for partition, behind in by_partition.items():
            self._run(catch_up(self._projectors[partition], behind, self._join), "catch up")

    def _join(self, rows: BuildRows) -> None:
        self._followers[rows.partition].join(rows)
        joined = self._caught_up.setdefault(rows.build_id, set())
        joined.add(rows.partition)
        mine = {part.partition for part in self._builds.get(rows.build_id, ())}
        if not rows.watched and mine <= joined:
            self._run(self._make_ready(rows.build_id), "make ready")

    async def _make_ready(self, name: str) -> None:
        """Makes a build ready as soon as it has caught up in the partitions of all processes."""
        view, _, number = name.rpartition("@")
        ends = self._tail.ends
        rest = Rest()
        while self._builds.get(name):
            try:
                progress = await self._backend.views.progress(name)
                if all(have >= end for have, end in zip_longest(progress, ends, fillvalue=0)):
                    await self.change(view, lambda now: caught_up(now, int(number)))
                    return
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                _log.warning("%s is ready, but that cannot be kept yet: %s", name, error)
            await asyncio.sleep(rest.begin())

    def _lock(self, view: str) -> asyncio.Lock:
        return self._views.setdefault(view, asyncio.Lock())

    def _run(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("%s ended", task.get_name(), exc_info=task.exception())


async def _forget(given_up: Sequence[BuildRows]) -> None:
    """Stops folding rows, and drops what is in memory of them."""
    # All at once: whoever waits here may give up, and must leave nothing that still folds.
    for rows in given_up:
        rows.active = False
    for rows in given_up:
        async with rows.lock:
            rows.forget()
