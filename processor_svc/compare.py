"""Compares two builds of a view row by row; promise: both stand at the same place of the log."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from eventspine.domain.declared import ViewDeclaration
from eventspine.storage.keys import decode_key, key_json
from eventspine.storage.merging import code_of, merged
from eventspine.storage.ports import ViewStore
from eventspine.storage.records import KeyedRow
from eventspine.v1.admin_pb2 import CompareViewResponse, RowDifference

DIFFERENCES_MAX = 20
"""How many differences are shown; all are counted."""

PAGE_ROWS = 500
"""How many rows of a build are read at once."""


class Side(NamedTuple):
    """One of the two builds: its id, and the code version whose `merge` makes its rows."""

    build_id: str
    code_version: int


async def compare(
    store: ViewStore, declaration: ViewDeclaration, serving: Side, compared: Side
) -> CompareViewResponse:
    """Compares the rows of two builds, which must not move meanwhile.

    Returns:
        The counts and the first differences; where they were compared is left to the caller.

    Raises:
        StoreUnavailableError: Rows cannot be read.
    """
    answer = CompareViewResponse()
    merges = [code_of(declaration, side.code_version).merge for side in (serving, compared)]
    alike = merges[0] is merges[1]
    async for left, right in _pairs(_rows(store, serving), _rows(store, compared)):
        if alike and left is not None and right is not None and left.partials == right.partials:
            answer.same += 1
            continue
        ours = _message(declaration, serving, left)
        theirs = _message(declaration, compared, right)
        if ours is None and theirs is None:
            continue
        if ours is None:
            answer.only_compared += 1
        elif theirs is None:
            answer.only_serving += 1
        elif ours == theirs:
            answer.same += 1
            continue
        else:
            answer.different += 1
        if len(answer.differences) < DIFFERENCES_MAX:
            key = (left or right or _NO_ROW).key
            answer.differences.append(_difference(key, ours, theirs))
    return answer


_NO_ROW = KeyedRow(b"", ())


async def _rows(store: ViewStore, side: Side) -> AsyncIterator[KeyedRow]:
    after = b""
    while True:
        page = await store.list(side.build_id, after=after, limit=PAGE_ROWS)
        for row in page:
            yield row
        if len(page) < PAGE_ROWS:
            return
        after = page[-1].key


async def _pairs(
    lefts: AsyncIterator[KeyedRow], rights: AsyncIterator[KeyedRow]
) -> AsyncIterator[tuple[KeyedRow | None, KeyedRow | None]]:
    """Merges two lists in key order: each key once, with the row of each side that has it."""
    left, right = await anext(lefts, None), await anext(rights, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.key < right.key):
            yield left, None
            left = await anext(lefts, None)
        elif left is None or right.key < left.key:
            yield None, right
            right = await anext(rights, None)
        else:
            yield left, right
            left, right = await anext(lefts, None), await anext(rights, None)


def _message(declaration: ViewDeclaration, side: Side, row: KeyedRow | None) -> Message | None:
    if row is None:
        return None
    return merged(declaration, row.partials, code_version=side.code_version)


def _difference(key: bytes, serving: Message | None, compared: Message | None) -> RowDifference:
    return RowDifference(
        key_json=key_json(decode_key(key)),
        serving_json=_json(serving),
        compared_json=_json(compared),
    )


def _json(row: Message | None) -> str:
    if row is None:
        return ""
    return MessageToJson(row, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
