"""A proxy for one TCP server, whose connections fail as a test says."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

CHUNK = 65536


class Proxy:
    """Passes bytes both ways between clients and a server, until it is told otherwise.

    Attributes:
        swallowed: How many bytes of the server's have been kept from clients.
        change: What is made of the server's bytes before a client gets them; None leaves them.
        delay_seconds: How long each piece of the server's bytes is held back.
    """

    def __init__(self, target: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Prepares a proxy to a server (`host:port`); to be entered as a context."""
        target_host, _, target_port = target.rpartition(":")
        self._target = target_host, int(target_port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._host = host
        self._port = port
        self._swallowing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.swallowed = 0
        self.change: Callable[[bytes], bytes] | None = None
        self.delay_seconds = 0.0

    @property
    def address(self) -> str:
        """Where clients connect to, `host:port`; stays when it refuses them for a while."""
        return f"{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(self) -> None:
        """Takes connections, and passes everything on; the opposite of all others."""
        self._swallowing = False
        self.change = None
        self.flow()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self._host, self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Cuts all connections, and takes no new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        self.flow()

    def cut(self) -> None:
        """Cuts all connections; new ones are taken."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def swallow(self) -> None:
        """Keeps what the server says from now on from the clients; what they say goes on."""
        self._swallowing = True

    def hold(self) -> None:
        """Reads nothing more from the clients, until `flow`."""
        self._flowing.clear()

    def flow(self) -> None:
        """Reads from the clients again."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except ConnectionError:
            writer.transport.abort()
            return
        self._writers |= {writer, server_writer}
        for work in (
            self._requests(reader, server_writer),
            self._replies(server_reader, writer),
        ):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await self._flowing.wait() and (data := await reader.read(CHUNK)):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                if self._swallowing:
                    self.swallowed += len(data)
                    continue
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(self.change(data) if self.change else data)
                await writer.drain()
        writer.close()
