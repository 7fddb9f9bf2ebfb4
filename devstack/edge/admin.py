"""Asks Envoy's admin page, over plain HTTP on loopback."""

import asyncio

from eventspine.rpc.address import split_address


async def ask(address: str, path: str, *, method: str = "GET") -> str:
    """Returns the body of an answer of the admin page, whatever its status.

    Args:
        address: Where the admin page is, `host:port`.
        path: What to ask for.
        method: GET to read, POST to change something.

    Raises:
        OSError: Nothing answered.
    """
    reader, writer = await asyncio.open_connection(*split_address(address))
    try:
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    return (_joined(body) if b"chunked" in head.lower() else body).decode()


def _joined(chunks: bytes) -> bytes:
    """Returns a body that came in chunks, each behind its size in hexadecimal digits."""
    body = bytearray()
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        count = int(size, 16)
        body += rest[:count]
        chunks = rest[count + 2 :] if count else b""
    return bytes(body)
