"""Step 8 of the way: a row and each change of it; promise: the last state is never missed.

A watch follows the changes first and reads the row then, so nothing falls between; what it has read
already is told by sequences. A reader that is slow gets the latest row, not every one.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from eventspine.domain.declared import QueryDeclaration
from eventspine.rpc.context import CallContext
from eventspine.rpc.errors import ShuttingDownError
from eventspine.storage.connect import Backend
from eventspine.storage.keys import encode_key
from eventspine.storage.progress import ServingBuilds
from eventspine.storage.records import PartialRow
from eventspine.storage.tail import LogTail
from eventspine.v1.query_pb2 import QueryResult
from query_svc.changes import Changes, Watcher
from query_svc.freshness import Freshness, Served, registered, served
from query_svc.keys import whole_key
from query_svc.rows import encoded_row, reply_field
from query_svc.settings import QuerySettings

Partials = dict[int, PartialRow]
"""The partial rows of one row, deleted ones among them, by log partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watches:
    """Answers Watch; what all watches of a process share."""

    backend: Backend
    tail: LogTail
    serving: ServingBuilds
    freshness: Freshness
    changes: Changes
    settings: QuerySettings

    async def watch(
        self, query: QueryDeclaration, request: Any, ctx: CallContext
    ) -> AsyncGenerator[bytes, None]:
        """Sends the row, then its changes, until the caller goes.

        Raises:
            InvalidRequestError: The key or the header is malformed.
            ViewBehindError: The build is behind the token, and the policy is to fail.
            ShuttingDownError: The process is stopping.
        """
        key = encode_key(whole_key(query.view, request))
        build = await served(self.serving, query.view.name)
        result: QueryResult | None = await self.freshness.demanded(request.header, build, ctx)
        while True:
            async with aclosing(self._build(query, build, key, result)) as replies:
                async for reply in replies:
                    yield reply
                    if ctx.cancelled():
                        return
            build, result = await registered(self.backend.registry, query.view.name), None

    async def _build(
        self, query: QueryDeclaration, build: Served, key: bytes, first: QueryResult | None
    ) -> AsyncGenerator[bytes, None]:
        """Sends the row of one build and its changes, until another build serves."""
        view = query.view.name
        with self.changes.watching(view, build.build_id, key) as watcher:
            # A switch that came before the watch stood is found here, a later one is told of.
            if await registered(self.backend.registry, view) != build:
                return
            result = first or await self.freshness.result(build)
            row = _Row(query, build, await self._partials(build, key), result)
            yield row.reply()
            while True:
                if not await watcher.wait(self.settings.watch_checkpoint_seconds):
                    yield row.checkpoint(self._result(build, row))
                    continue
                if not await self._same(watcher, build, view):
                    return
                if watcher.reload:
                    watcher.reload = False
                    row.result = await self.freshness.result(build)
                    row.take(await self._partials(build, key))
                row.take(watcher.take())
                row.result = self._result(build, row)
                if row.changed():
                    yield row.reply()

    async def _same(self, watcher: Watcher, build: Served, view: str) -> bool:
        """Returns whether the build goes on serving."""
        if self.changes.stopped:
            raise ShuttingDownError("the process is stopping; watch at another instance")
        if not watcher.moved:
            return True
        watcher.moved = False
        return await registered(self.backend.registry, view) == build

    async def _partials(self, build: Served, key: bytes) -> Partials:
        partials: Partials = {}
        for partition in range(self.tail.partitions):
            found = await self.backend.views.load(build.build_id, partition, [key])
            partials.update((partition, partial) for partial in found.values())
        return partials

    def _result(self, build: Served, row: "_Row") -> QueryResult:
        """Says how far the changes have come that the watcher was given, and no more."""
        known = [entry.sequence for entry in row.result.progress]
        told = self.changes.progress(build.build_id)
        return self.freshness.described(
            build, [max(at, told.get(partition, 0)) for partition, at in enumerate(known)]
        )


class _Row:
    """A row as its watcher has it.

    Attributes:
        result: How fresh it is.
    """

    def __init__(
        self, query: QueryDeclaration, build: Served, partials: Partials, result: QueryResult
    ) -> None:
        self.result = result
        self._query = query
        self._build = build
        self._partials = partials
        self._encoded = self._encode()

    def take(self, partials: Partials) -> None:
        """Takes what is newer."""
        for partition, partial in partials.items():
            known = self._partials.get(partition)
            if known is None or known.sequence < partial.sequence:
                self._partials[partition] = partial

    def changed(self) -> bool:
        """Returns whether the row is another one than at the last call."""
        before, self._encoded = self._encoded, self._encode()
        return before != self._encoded

    def reply(self) -> bytes:
        """Encodes the row as it is."""
        response = self._query.response
        absent = self._encoded is None
        rest: bytes = response(absent=absent, result=self.result).SerializeToString()
        if self._encoded is None:
            return rest
        return reply_field(response, "row").one(self._encoded) + rest

    def checkpoint(self, result: QueryResult) -> bytes:
        """Encodes that nothing has changed."""
        self.result = result
        encoded: bytes = self._query.response(checkpoint=True, result=result).SerializeToString()
        return encoded

    def _encode(self) -> bytes | None:
        return encoded_row(self._query.view, self._build, list(self._partials.values()))
