"""Rows to those who ask (step 7); promise: ordered, bounded batches of rows as they were stored.

Where one partial makes the row, its stored bytes go out as they are; only `merge` parses.
"""

import hashlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

from eventspine.domain.declared import Declarations, QueryDeclaration, ViewDeclaration
from eventspine.domain.view import Key
from eventspine.rpc.context import CallContext
from eventspine.rpc.errors import (
    CursorExpiredError,
    CursorInvalidError,
    RowNotFoundError,
    ViewNotFoundError,
)
from eventspine.storage.connect import Backend
from eventspine.storage.keys import encode_key, key_json
from eventspine.storage.merging import code_of, merged
from eventspine.storage.progress import ServingBuilds
from eventspine.storage.records import KeyedRow, PartialRow
from eventspine.v1.query_pb2 import ListRowsRequest, ListRowsResponse, QueryHeader, QueryResult
from query_svc.cursor import RowsCursor, decode_rows, encode_rows
from query_svc.feed import PageSize
from query_svc.freshness import Freshness, Served, registered, served
from query_svc.keys import leading_key, parsed_key, whole_key
from query_svc.settings import BATCH_BYTES_MAX, BATCH_RECORDS_MAX
from query_svc.splice import Field, field, fitting

_ENDLESS = 1 << 64

_ANY_TYPE_URL = field(1)
_ANY_VALUE = field(2)

Shape = Callable[[bytes], bytes]
"""Makes what stands in the reply of a stored row."""


def reply_field(response: type[Any], name: str) -> Field:
    """Returns a field of a response message, by its name."""
    return field(response.DESCRIPTOR.fields_by_name[name].number)


def encoded_row(
    view: ViewDeclaration, build: Served, partials: Sequence[PartialRow]
) -> bytes | None:
    """Returns a row's encoding; None where there is no row.

    Raises:
        DomainDefectError: The view's `merge` failed, or is missing.
    """
    kept = [partial for partial in partials if partial.encoded is not None]
    if len(kept) == 1 and code_of(view, build.code_version).merge is None:
        return kept[0].encoded
    row = merged(view, kept, code_version=build.code_version)
    return None if row is None else row.SerializeToString(deterministic=True)


class Listing(NamedTuple):
    """A list as it is asked for.

    Attributes:
        view: The view.
        build: The build that answers.
        result: How fresh it is.
        prefix: The encoded leading key values that all rows have.
        after: The encoded key of the last row that was sent before; empty for none.
        limit: How many rows to send at most.
    """

    view: ViewDeclaration
    build: Served
    result: QueryResult
    prefix: bytes
    after: bytes
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Answers Get, List and ListRows; what all of them share."""

    declarations: Declarations
    backend: Backend
    serving: ServingBuilds
    freshness: Freshness

    async def get(self, query: QueryDeclaration, request: Any, ctx: CallContext) -> bytes:
        """Answers one row.

        Raises:
            InvalidRequestError: The key or the header is malformed.
            RowNotFoundError: There is no row with the key.
            ViewBehindError: The build is behind the token, and the policy is to fail.
        """
        view = query.view
        key = whole_key(view, request)
        build, result = await self._answering(view.name, request.header, ctx)
        row = await self._row(view, build, key)
        if row is None and await self._retired(view.name, build, result):
            build = await registered(self.backend.registry, view.name)
            result = await self.freshness.demanded(request.header, build, ctx)
            row = await self._row(view, build, key)
        if row is None:
            raise RowNotFoundError(
                f"view {view.name} has no row with key {key_json(key)}",
                view=view.name,
                key=key_json(key),
                stale="true" if result.stale else "false",
            )
        rest: bytes = query.response(result=result).SerializeToString()
        return reply_field(query.response, "row").one(row) + rest

    async def list_typed(
        self, query: QueryDeclaration, request: Any, ctx: CallContext
    ) -> AsyncGenerator[bytes, None]:
        """Answers the rows of a typed List, in batches.

        Raises:
            InvalidRequestError: The prefix or the header is malformed.
            CursorInvalidError: The cursor is none, or of another request.
            CursorExpiredError: The cursor is of another store or of a build that was retired.
            ViewBehindError: The build is behind the token, and the policy is to fail.
        """
        key = leading_key(query.view, request)
        asked = _Asked(query.view, key, request.header, request.limit, request.cursor)
        async with aclosing(self._replies(asked, query.response, bytes, ctx)) as replies:
            async for reply in replies:
                yield reply

    async def list_rows(
        self, request: ListRowsRequest, ctx: CallContext
    ) -> AsyncGenerator[bytes, None]:
        """Answers the rows of any view, in batches; raises as `list_typed`.

        Raises:
            ViewNotFoundError: There is no such view or build.
        """
        view = self.declarations.views.get(request.view)
        if view is None:
            raise ViewNotFoundError(
                f"no hosted domain declares view {request.view!r}; `eventspine views` lists them",
                view=request.view,
            )
        key = parsed_key(view, request.key_prefix)
        asked = _Asked(view, key, request.header, request.limit, request.cursor, request.build)
        url = _ANY_TYPE_URL.one(f"type.googleapis.com/{view.name}".encode())

        def packed(row: bytes) -> bytes:
            return url + _ANY_VALUE.one(row)

        async with aclosing(self._replies(asked, ListRowsResponse, packed, ctx)) as replies:
            async for reply in replies:
                yield reply

    async def _replies(
        self, asked: "_Asked", response: type[Any], shape: Shape, ctx: CallContext
    ) -> AsyncGenerator[bytes, None]:
        """Encodes the batches; `result` stands in the first one."""
        prefix = encode_key(asked.key)
        fingerprint = _fingerprint(asked.view.name, prefix)
        if asked.cursor or asked.build:
            build, after = await self._place(asked, fingerprint)
            result = await self.freshness.demanded(asked.header, build, ctx)
        else:
            build, result = await self._answering(asked.view.name, asked.header, ctx)
            after = b""
        listing = Listing(asked.view, build, result, prefix, after, asked.limit or _ENDLESS)
        rows_field = reply_field(response, "rows")
        store_id, first = self.backend.identity.store_id, True
        async with aclosing(self._batches(listing)) as batches:
            async for rows, last_key in batches:
                last = RowsCursor(store_id, fingerprint, build.number, last_key)
                rest = response(cursor=encode_rows(last) if last_key else "")
                if first:
                    rest.result.CopyFrom(result)
                    first = False
                parts = rows_field.parts([shape(row) for row in rows])
                parts.append(rest.SerializeToString())
                yield b"".join(parts)
                if ctx.cancelled():
                    return

    async def _place(self, asked: "_Asked", fingerprint: bytes) -> tuple[Served, bytes]:
        """Returns the build that is asked for and the key after which the list goes on."""
        if not asked.cursor:
            return await served(self.serving, asked.view.name, asked.build), b""
        cursor = decode_rows(asked.cursor)
        if cursor.store_id != self.backend.identity.store_id:
            raise CursorExpiredError("the cursor is of another store; start again without it")
        if cursor.fingerprint != fingerprint or asked.build not in (0, cursor.build):
            raise CursorInvalidError(
                "the cursor is of another request; send what was sent when it was made, or start "
                "again without it"
            )
        try:
            return await served(self.serving, asked.view.name, cursor.build), cursor.key
        except ViewNotFoundError as error:
            raise _retired(asked.view.name, cursor.build) from error

    async def _batches(self, listing: Listing) -> AsyncGenerator[tuple[list[bytes], bytes], None]:
        """Reads page by page; each batch with the key to go on after, empty behind the last row."""
        after, left, size, sent = listing.after, listing.limit, PageSize(), False
        while True:
            want = size.limit(min(left, BATCH_RECORDS_MAX))
            found = await self.backend.views.list(
                listing.build.build_id, prefix=listing.prefix, after=after, limit=want + 1
            )
            more = len(found) > want
            keyed = _encoded(listing, found[:want])
            size.seen([row for _, row in keyed])
            if not found:
                await self._check_kept(listing)
            for batch, last_key in _cut(keyed):
                final = last_key == keyed[-1][0] and not more
                sent = True
                yield batch, b"" if final else last_key
            left -= len(keyed)
            if not more or not left:
                break
            after = found[want - 1].key
        if not sent:
            yield [], b""

    async def _check_kept(self, listing: Listing) -> None:
        """A build that is retired meanwhile loses its rows, which must not look like the end."""
        view, build = listing.view.name, listing.build
        if await self._retired(view, build, listing.result, begun=bool(listing.after)):
            raise _retired(view, build.number)

    async def _answering(
        self, view: str, header: QueryHeader, ctx: CallContext
    ) -> tuple[Served, QueryResult]:
        """Returns the build that serves, waited for as demanded, and how fresh it is."""
        build = await served(self.serving, view)
        result = await self.freshness.demanded(header, build, ctx)
        # Another one may serve by now, and this one be gone.
        before, build = build, await served(self.serving, view)
        if build != before:
            result = await self.freshness.demanded(header, build, ctx)
        return build, result

    async def _row(self, view: ViewDeclaration, build: Served, key: Key) -> bytes | None:
        partials = await self.backend.views.get(build.build_id, encode_key(key))
        return encoded_row(view, build, partials)

    async def _retired(
        self, view: str, build: Served, result: QueryResult, *, begun: bool = False
    ) -> bool:
        """Tells whether no row was found because the build was retired meanwhile.

        A build loses its progress with its rows; but the store may also be told of its progress a
        little later. Before it loses them it is set aside, and its name may stay so a while longer.
        """
        if any(await self.backend.views.progress(build.build_id)):
            return False
        for known in (await self.backend.registry.builds(view)).builds:
            if known.number == build.number:
                aside = known.state == "building" and known.paused
                return aside and (begun or any(place.sequence for place in result.progress))
        return True


class _Asked(NamedTuple):
    """The fields of a request for a list, typed or not."""

    view: ViewDeclaration
    key: Key
    header: QueryHeader
    limit: int
    cursor: str
    build: int = 0


def _encoded(listing: Listing, found: Sequence[KeyedRow]) -> list[tuple[bytes, bytes]]:
    """Returns keys and rows; a merge may leave a row out."""
    rows = [(keyed.key, encoded_row(listing.view, listing.build, keyed[1])) for keyed in found]
    return [(key, row) for key, row in rows if row is not None]


def _cut(keyed: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[list[bytes], bytes]]:
    """Cuts rows into messages; each with the key of its last row."""
    rows = [row for _, row in keyed]
    start = 0
    while start < len(rows):
        end = start + fitting(rows[start:], BATCH_RECORDS_MAX, BATCH_BYTES_MAX)
        yield rows[start:end], keyed[end - 1][0]
        start = end


def _fingerprint(view: str, prefix: bytes) -> bytes:
    return hashlib.sha256(view.encode() + b"\0" + prefix).digest()[:8]


def _retired(view: str, number: int) -> CursorExpiredError:
    return CursorExpiredError(
        f"build {number} of view {view} was retired; start again without the cursor", view=view
    )
