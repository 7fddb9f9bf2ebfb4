"""HTTP/2 by hand: frames that no client library would send."""

import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from eventspine.rpc.address import split_address
from tests.edge.fronted import WAIT_SECONDS

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION = 0, 1, 3, 4, 7, 9
END_STREAM, END_HEADERS = 1, 4

Headers = Iterable[tuple[str, str]]


class Frame(NamedTuple):
    """One frame: its kind, its flags, its stream and its content."""

    kind: int
    flags: int
    stream: int
    content: bytes


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """Returns the bytes of a frame."""
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def block(headers: Headers) -> bytes:
    """Returns headers, each in full and without compression."""
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers)


def grpc_headers(path: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    """Returns the headers of a gRPC call."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "edge"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]


def message(content: bytes) -> bytes:
    """Returns a message as gRPC sends it."""
    return struct.pack(">BI", 0, len(content)) + content


class Connection:
    """A connection of HTTP/2 whose frames are written by hand."""

    def __init__(self, address: str) -> None:
        self._socket = socket.create_connection(split_address(address), timeout=WAIT_SECONDS)
        self._read = self._socket.makefile("rb")
        self.send(PREFACE, frame(SETTINGS, 0, 0))

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._read.close()
        self._socket.close()

    def send(self, *frames: bytes) -> None:
        """Sends frames."""
        self._socket.sendall(b"".join(frames))

    def frames(self) -> Iterable[Frame]:
        """Yields the frames that come, until the other side closes."""
        try:
            while head := self._read.read(9):
                size = int.from_bytes(head[:3], "big")
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                yield Frame(kind, flags, stream, self._read.read(size))
        except ConnectionResetError:
            return

    def until(self, *kinds: int, stream: int | None = None) -> Frame | None:
        """Returns the next frame of one of the kinds; None when the other side closes first."""
        for found in self.frames():
            if found.kind in kinds and stream in (None, found.stream):
                return found
        return None


def _text(text: str) -> bytes:
    raw = text.encode("latin-1")
    size = len(raw)
    if size < 127:
        return bytes([size]) + raw
    encoded = bytearray([127])
    size -= 127
    while size >= 128:
        encoded.append(size % 128 + 128)
        size //= 128
    encoded.append(size)
    return bytes(encoded) + raw
