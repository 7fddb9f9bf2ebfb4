"""Compares two builds of a view row by row; promise: both stand at the same place of the log."""

import asyncio
import sys
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
    store: ViewStore,
    declaration: ViewDeclaration,
    sides: tuple[Side, Side],
    *,
    after: bytes = b"",
    limit: int = 0,
) -> CompareViewResponse:
    """Compares the rows of two builds, which must not move meanwhile.

    Args:
        store: Where their rows are.
        declaration: Their view.
        sides: The build that serves, and the other one.
        after: The encoded key behind which to begin.
        limit: How many keys to compare at most; 0 for all.

    Returns:
        The counts, the first differences, and the key to go on behind where the limit was reached;
        where in the log they were compared is left to the caller.

    Raises:
        StoreUnavailableError: Rows cannot be read.
    """
    answer = CompareViewResponse()
    merges = [code_of(declaration, side.code_version).merge for side in sides]
    alike = merges[0] is merges[1]
    left = limit or sys.maxsize
    while left:
        count = min(PAGE_ROWS, left)
        pairs = await _pairs(store, sides, after, count)
        for key, ours, theirs in pairs:
            if alike and ours == theirs:
                answer.same += 1
            else:
                rows = (
                    _message(declaration, *one) for one in zip(sides, (ours, theirs), strict=True)
                )
                _note(answer, key, *rows)
        if len(pairs) < count:
            return answer
        left -= len(pairs)
        after = pairs[-1][0]
    answer.reached_key_json = key_json(decode_key(after))
    return answer


_Pair = tuple[bytes, KeyedRow | None, KeyedRow | None]
"""A key, and the row of each side that has it."""


async def _pairs(
    store: ViewStore, sides: tuple[Side, Side], after: bytes, count: int
) -> list[_Pair]:
    """Reads the next keys that either side has; fewer than `count` where there are no more."""
    ours, theirs = await asyncio.gather(
        *[store.list(side.build_id, after=after, limit=count) for side in sides]
    )
    if [row.key for row in ours] == [row.key for row in theirs]:
        return [(left.key, left, right) for left, right in zip(ours, theirs, strict=True)]
    lefts, rights = ({row.key: row for row in rows} for rows in (ours, theirs))
    # Each side has its first `count` keys here, so the first `count` of both are among these.
    keys = sorted(lefts.keys() | rights.keys())[:count]
    return [(key, lefts.get(key), rights.get(key)) for key in keys]


def _note(
    answer: CompareViewResponse, key: bytes, ours: Message | None, theirs: Message | None
) -> None:
    """Counts a key, and shows its rows where they are among the first that differ."""
    if ours is None and theirs is None:
        return
    if ours == theirs:
        answer.same += 1
        return
    if ours is None:
        answer.only_compared += 1
    elif theirs is None:
        answer.only_serving += 1
    else:
        answer.different += 1
    if len(answer.differences) < DIFFERENCES_MAX:
        answer.differences.append(_difference(key, ours, theirs))


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
