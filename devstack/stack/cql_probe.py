"""Asks one Cassandra node one query, without a driver, which would go on to ask the others too.

Source: the native protocol, version 4 (doc/native_protocol_v4.spec of Cassandra).
"""

import asyncio
import struct
from typing import Final

ONE: Final = 1
ALL: Final = 5
_VERSION: Final = 4
_STARTUP, _READY, _QUERY, _RESULT = 0x01, 0x02, 0x07, 0x08
_SKIP_METADATA: Final = 0x02
_ROWS: Final = 2
_FRAME: Final = struct.Struct(">BBhBI")

Row = list[bytes | None]


class CqlRefusedError(OSError):
    """The node answered with an error, or what no node answers."""


async def ask(host: str, port: int, query: str, *, consistency: int = ONE) -> list[Row]:
    """Returns the rows of a query, each a list of encoded values; empty when there are none.

    Args:
        host: The node's address.
        port: Its native port.
        query: One CQL query without parameters.
        consistency: The protocol's number of a consistency level.

    Raises:
        CqlRefusedError: The node refused.
        OSError: The node cannot be reached.
        EOFError: The node hung up.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        startup = struct.pack(">H", 1) + _text("CQL_VERSION") + _text("3.0.0")
        if (await _call(reader, writer, _STARTUP, startup))[0] != _READY:
            raise CqlRefusedError("the node asks who we are; the launcher's nodes do not")
        encoded = query.encode()
        options = struct.pack(">HB", consistency, _SKIP_METADATA)
        body = struct.pack(">I", len(encoded)) + encoded + options
        kind, answer = await _call(reader, writer, _QUERY, body)
        if kind != _RESULT:
            why = answer[6:].decode(errors="replace")
            raise CqlRefusedError(f"the node refused {query!r}: {why}")
        return _rows(answer)
    finally:
        writer.close()


async def _call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: int, body: bytes
) -> tuple[int, bytes]:
    writer.write(_FRAME.pack(_VERSION, 0, 0, kind, len(body)) + body)
    await writer.drain()
    *_, answered, length = _FRAME.unpack(await reader.readexactly(_FRAME.size))
    return answered, await reader.readexactly(length)


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


def _rows(answer: bytes) -> list[Row]:
    """Reads a result without metadata: kind, flags, columns, rows, then the values."""
    if struct.unpack_from(">i", answer) != (_ROWS,):
        return []
    _, _, columns, count = struct.unpack_from(">iIii", answer)
    place = 16
    rows: list[Row] = []
    for _ in range(count):
        row: Row = []
        for _ in range(columns):
            (length,) = struct.unpack_from(">i", answer, place)
            place += 4
            row.append(answer[place : place + length] if length >= 0 else None)
            place += max(length, 0)
        rows.append(row)
    return rows
