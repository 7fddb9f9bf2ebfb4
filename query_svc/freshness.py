"""How fresh an answer is (step 7); promise: a token is honoured, or the answer says that it is not.

Everything that is compared is a place in the log. The wait is driven by what the processor tells,
never by asking the database again and again.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from eventspine.rpc import limits
from eventspine.rpc.checks import check_duration, check_enum
from eventspine.rpc.context import CallContext
from eventspine.rpc.errors import CursorExpiredError, ViewBehindError, ViewNotFoundError
from eventspine.rpc.token import decode_token
from eventspine.storage.connect import Backend
from eventspine.storage.places import Places
from eventspine.storage.ports import ViewRegistry
from eventspine.storage.progress import (
    BUILD_STATE_SERVING,
    ProgressBoard,
    ServingBuilds,
    build_id,
)
from eventspine.storage.records import Builds, LogPlace, StreamPlace
from eventspine.storage.tail import LogTail
from eventspine.v1.query_pb2 import QueryHeader, QueryResult, StalePolicy
from eventspine.v1.record_pb2 import PartitionSequence
from query_svc.pulse import Pulse

_POLICIES: EnumTypeWrapper = StalePolicy  # type: ignore[assignment] # the stub calls it a class


class Served(NamedTuple):
    """The build that answers a query.

    Attributes:
        build_id: `<view>@<number>`.
        number: From 1.
        code_version: The version of the view's code that folds it.
    """

    build_id: str
    number: int
    code_version: int


async def served(serving: ServingBuilds, view: str, number: int = 0) -> Served:
    """Returns a build of a view, as this process remembers it; the one that serves for number 0.

    Raises:
        ViewNotFoundError: There is no such build, or none serves yet.
    """
    return _found(await serving.builds(view), view, number)


async def registered(registry: ViewRegistry, view: str) -> Served:
    """Looks up the build of a view that serves.

    Raises:
        ViewNotFoundError: None serves yet.
    """
    return _found(await registry.builds(view), view, 0)


def _found(builds: Builds, view: str, number: int) -> Served:
    for build in builds.builds:
        if build.number == number or (not number and build.state == BUILD_STATE_SERVING):
            return Served(build_id(view, build.number), build.number, build.code_version)
    which = f"no build {number}" if number else "no build that serves yet"
    raise ViewNotFoundError(f"view {view} has {which}; `eventspine views` lists them", view=view)


class Freshness:
    """Waits until a build shows what a caller demands, and says how far it is."""

    def __init__(
        self, backend: Backend, tail: LogTail, pulse: Pulse, progress: ProgressBoard
    ) -> None:
        """Compares the log with the progress of builds."""
        self._backend = backend
        self._tail = tail
        self._pulse = pulse
        self._progress = progress
        self._places = Places(backend.log, tail)

    async def demanded(self, header: QueryHeader, build: Served, ctx: CallContext) -> QueryResult:
        """Honours the header of a query, then says how fresh the build is. Read rows after it.

        Raises:
            InvalidRequestError: `max_wait` is out of range, or the policy is missing or unknown.
            CursorInvalidError: The token is none.
            CursorExpiredError: The token is of another store.
            ViewBehindError: The policy is to fail, and the build is still behind.
        """
        wait_seconds = check_duration(
            "header.max_wait",
            header.max_wait if header.HasField("max_wait") else None,
            minimum=0.0,
            maximum=limits.WAIT_SECONDS_MAX,
            default=limits.WAIT_SECONDS_DEFAULT,
        )
        if header.token or header.stale_policy:
            check_enum("header.stale_policy", _POLICIES, header.stale_policy)
        if not header.token:
            return await self.result(build)
        if header.stale_policy == StalePolicy.STALE_POLICY_IMMEDIATE:
            wait_seconds = 0.0
        remaining = ctx.time_remaining()
        wait_seconds = wait_seconds if remaining is None else min(wait_seconds, remaining)
        shown = await self._shows(header.token, build, wait_seconds)
        result = await self.result(build, stale=not shown)
        if result.stale and header.stale_policy == StalePolicy.STALE_POLICY_FAIL:
            raise ViewBehindError(
                f"build {build.build_id} has not passed the token in {wait_seconds:g} s; it is "
                f"{result.lag_events} events behind; ask again, or accept a stale answer",
                lag_events=str(result.lag_events),
            )
        return result

    async def result(self, build: Served, *, stale: bool = False) -> QueryResult:
        """Says how far a build has come."""
        return self.described(build, await self._progress.progress(build.build_id), stale=stale)

    def described(
        self, build: Served, progress: Sequence[int], *, stale: bool = False
    ) -> QueryResult:
        """Says how far a build has come that has passed these sequences, by partition."""
        ends = self._tail.ends
        passed = [*progress, *[0] * (len(ends) - len(progress))]
        lag = sum([max(end - at, 0) for end, at in zip(ends, passed, strict=True)])
        return QueryResult(
            stale=stale,
            # What a token demands is missing, also where the log has not told of it here yet.
            lag_events=max(lag, 1) if stale else lag,
            progress=[
                PartitionSequence(partition=partition, sequence=at)
                for partition, at in enumerate(passed)
            ],
            build=build.number,
        )

    async def _shows(self, text: str, build: Served, wait_seconds: float) -> bool:
        """Returns whether the build has passed a token, or passes it in time."""
        token = decode_token(text)
        # A command that had nothing to do in a stream without events demands no event of it.
        demanded = [place for place in token.places if place.stream_version]
        await self._check_store(token.store_id, demanded)
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_seconds
        places = await self._places.wait(demanded, deadline, self._pulse.next)
        if places is None:
            return False
        for partition, sequence in _last(places).items():
            left = deadline - clock()
            if not await self._progress.passed(build.build_id, partition, sequence, left):
                return False
        return True

    async def _check_store(self, store_id: str, places: Sequence[StreamPlace]) -> None:
        identity = self._backend.identity
        if store_id == identity.store_id:
            return
        if store_id not in identity.ancestors:
            raise CursorExpiredError("the token is of another store; ask without it")
        # What was restored is in the log. Later, this store has given versions to its own events.
        ends = identity.ancestors[store_id]
        found = await self._places.find(places)
        for (stream, version), place in zip(places, found, strict=True):
            if place is None or place.sequence > (*ends, *[0] * place.partition)[place.partition]:
                raise CursorExpiredError(
                    f"the token is of version {version} of stream {stream!r}, which a restore "
                    "could not bring back; ask without it"
                )


def _last(places: Sequence[LogPlace]) -> dict[int, int]:
    """Returns the highest sequence of each partition."""
    last: dict[int, int] = {}
    for partition, sequence in places:
        last[partition] = max(sequence, last.get(partition, 0))
    return last
