"""The life of a view's builds: pure steps from one list of builds to the next, and who makes them.

A view's first build serves from the start: an empty view that fills is what everybody expects of
a new platform, and its lag is shown. Every later build is an operator's wish: it is `building`
until it has caught up, then `ready`; switching makes it `serving` and the one before `standby`,
which goes on following and is what rolling back returns to. There is at most one `standby`; an
older one is `ready` again. When a process no longer declares the code that a build was made by, the
build serves what it has and does not move, until an operator builds the view anew: nothing that
costs so much starts by itself, and a roll-back of the software finds the build as it was.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from eventspine.domain.declared import ViewDeclaration
from eventspine.rpc.errors import ViewNotFoundError, ViewStateError
from eventspine.storage.errors import BusUnavailableError
from eventspine.storage.ports import Bus, ViewRegistry
from eventspine.storage.records import Build, Builds, BuildsChange

_log = logging.getLogger("eventspine.builds")

Steps = tuple[Build, ...]
"""The builds after a step, oldest first."""


def found(view: str, builds: Sequence[Build], number: int) -> Build:
    """Returns a build by its number; 0 means the one that serves.

    Raises:
        ViewNotFoundError: There is none; the text says which there are.
    """
    for build in builds:
        if build.number == number or (number == 0 and build.state == "serving"):
            return build
    known = ", ".join(str(build.number) for build in builds) or "none"
    raise ViewNotFoundError(
        f"view {view} has no build {number or 'that serves'}; it has: {known}", view=view
    )


def under_way(builds: Builds, code_version: int) -> Build | None:
    """Returns the build of a code version that is under way or waits to be switched to."""
    for build in reversed(builds.builds):
        if build.state in ("building", "ready") and build.code_version == code_version:
            return build
    return None


def begun(builds: Builds, code_version: int) -> Steps:
    """Adds a build, unless one of that code version is under way or waits to be switched to.

    Its number is above every earlier one, also of builds that were deleted since, because the
    revision counts every step.
    """
    if under_way(builds, code_version) is not None:
        return builds.builds
    state = "building" if builds.builds else "serving"
    return (*builds.builds, Build(builds.revision + 1, code_version, state, paused=False))


def caught_up(builds: Builds, number: int) -> Steps:
    """Makes a build ready that was building; any other one stays as it is."""
    return _each(
        builds,
        lambda build: (
            build._replace(state="ready")
            if build.number == number and build.state == "building"
            else build
        ),
    )


def switched(view: str, builds: Builds, number: int) -> Steps:
    """Lets a build serve that is ready or standby; the one that served becomes standby.

    Raises:
        ViewNotFoundError: There is no such build.
        ViewStateError: It has not caught up yet.
    """
    chosen = found(view, builds.builds, number)
    if chosen.state == "serving":
        return builds.builds
    if chosen.state == "building":
        raise ViewStateError(
            f"build {chosen.number} of view {view} has not caught up; wait until it is ready",
            state=chosen.state,
        )
    following = {"serving": "standby", "standby": "ready"}
    return _each(
        builds,
        lambda build: build._replace(
            state="serving"
            if build.number == chosen.number
            else following.get(build.state, build.state)
        ),
    )


def rolled_back(view: str, builds: Builds) -> Steps:
    """Lets the build serve again that served before.

    Raises:
        ViewStateError: None is kept.
    """
    for build in builds.builds:
        if build.state == "standby":
            return switched(view, builds, build.number)
    raise ViewStateError(
        f"view {view} keeps no build that served before; build it anew and switch", state="serving"
    )


def paused(view: str, builds: Builds, number: int, *, value: bool) -> Steps:
    """Pauses or resumes a build; 0 means the one that serves.

    Raises:
        ViewNotFoundError: There is no such build.
    """
    chosen = found(view, builds.builds, number)
    return _each(
        builds,
        lambda build: build._replace(paused=value) if build.number == chosen.number else build,
    )


def paused_all(builds: Builds, numbers: Collection[int], *, value: bool) -> Steps:
    """Pauses or resumes several builds; those that are no longer there are left out."""
    return _each(
        builds, lambda build: build._replace(paused=value) if build.number in numbers else build
    )


def retiring(view: str, builds: Builds, number: int) -> Steps:
    """Sets a build that does not serve aside, so that it cannot be chosen while it is deleted.

    Raises:
        ViewNotFoundError: There is no such build.
        ViewStateError: It serves.
    """
    chosen = found(view, builds.builds, number)
    if chosen.state == "serving":
        raise ViewStateError(
            f"build {chosen.number} of view {view} serves; switch to another one first",
            state=chosen.state,
        )
    aside = chosen._replace(state="building", paused=True)
    return _each(builds, lambda build: aside if build.number == chosen.number else build)


def retired(builds: Builds, number: int) -> Steps:
    """Leaves a build out."""
    return tuple(build for build in builds.builds if build.number != number)


class Lifecycle:
    """The builds of all views: looked up and changed, one step at a time, whoever else does."""

    def __init__(
        self, views: Mapping[str, ViewDeclaration], registry: ViewRegistry, bus: Bus
    ) -> None:
        """Changes builds in the registry and tells it on the bus's channel `changes`."""
        self._views = views
        self._registry = registry
        self._bus = bus

    def declared(self, view: str) -> ViewDeclaration:
        """Returns a view's declaration.

        Raises:
            ViewNotFoundError: No hosted domain declares it.
        """
        declaration = self._views.get(view)
        if declaration is None:
            known = ", ".join(sorted(self._views)) or "none"
            raise ViewNotFoundError(f"no domain declares view {view!r}; there are: {known}")
        return declaration

    def code_version(self, view: str, asked: int) -> int:
        """Returns a declared version of a view's code; 0 means the newest.

        Raises:
            ViewNotFoundError: It is not declared.
        """
        versions = self.declared(view).versions
        if asked == 0:
            return max(versions)
        if asked not in versions:
            known = ", ".join(str(version) for version in sorted(versions))
            raise ViewNotFoundError(
                f"view {view} has no code version {asked}; it has: {known}", view=view
            )
        return asked

    async def names(self) -> list[str]:
        """Returns the views that are declared or have builds, in order."""
        return sorted({*self._views, *await self._registry.views()})

    async def builds(self, view: str) -> Builds:
        """Returns the builds of a view, oldest first."""
        return await self._registry.builds(view)

    async def begin(self, view: str) -> Builds:
        """Makes the first build where there is none; tells operators of code that is missing."""
        newest = self.code_version(view, 0)
        builds = await self.change(
            view, lambda now: now.builds if now.builds else begun(now, newest)
        )
        declared = self.declared(view).versions
        for build in builds.builds:
            if build.code_version not in declared:
                _log.warning(
                    "build %d of view %s (%s) does not move: code version %d is not declared",
                    *(build.number, view, build.state, build.code_version),
                )
        if newest not in {build.code_version for build in builds.builds}:
            _log.warning("view %s has no build of code version %d: build it", view, newest)
        return builds

    async def change(self, view: str, step: Callable[[Builds], Steps]) -> Builds:
        """Takes a step and tells it; again from the start when somebody else was quicker.

        Whoever is not told, because the bus is down, finds it within seconds: processors look for
        builds, and query services do not remember them for long.

        Raises:
            StoreUnavailableError: Nothing was changed.
        """
        while True:
            now = await self._registry.builds(view)
            after = step(now)
            if after == now.builds:
                return now
            if await self._registry.put(view, now.revision, after):
                await self._tell(view)
                return await self._registry.builds(view)

    async def _tell(self, view: str) -> None:
        try:
            await self._bus.publish("changes", 0, [BuildsChange(view)])
        except BusUnavailableError as error:
            _log.warning("the builds of view %s changed, which cannot be told: %s", view, error)


def _each(builds: Builds, step: Callable[[Build], Build]) -> Steps:
    return tuple(step(build) for build in builds.builds)
