"""The driver's connections on the event loop; promise: no thread between a request and its answer.

The driver's own reactors read and write on a thread of theirs. It needs the interpreter's lock for
each message, as the event loop does, so that each of the two waits for the other. Threads of the
driver that send something (to prepare, to look for schemas, to see whether a node lives) hand it
to the loop and wait; the loop itself never waits for them.
Source: `LibevConnection` of cassandra-driver 3.30, whose order of steps is kept.
"""

import asyncio
import ssl
from collections.abc import Callable
from threading import get_ident
from typing import Any, ClassVar

from cassandra.connection import Connection, ConnectionShutdown

_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class LoopConnection(Connection):  # type: ignore[misc] # the driver has no types
    """One connection to one node. `on` makes the class that the driver is given."""

    in_buffer_size = 16_384
    is_closed = False

    _loop: ClassVar[asyncio.AbstractEventLoop]
    _loop_thread: ClassVar[int]

    @classmethod
    def on(cls, loop: asyncio.AbstractEventLoop) -> "type[LoopConnection]":
        """Returns the class of connections on an event loop. To be called on its thread."""
        return type(cls.__name__, (cls,), {"_loop": loop, "_loop_thread": get_ident()})

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], None]) -> "_Timer":
        """Calls back on the event loop when the seconds are over; from any thread."""
        return _Timer(cls._loop, timeout, callback)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Connects, which blocks, and begins the handshake; for the driver's threads."""
        super().__init__(*args, **kwargs)
        self._pending: list[bytes] = []
        self._flushing = False
        self._writing = False
        self._connect_socket()
        self._socket.setblocking(False)
        self._loop.call_soon_threadsafe(self._watch)
        self._send_options_message()

    def push(self, data: bytes) -> None:
        """Sends a message as soon as the socket takes it; from any thread.

        What is on its way is bounded by those who ask, so a backlog needs no bound of its own.

        Raises:
            ConnectionShutdown: The event loop has ended; nothing was sent.
        """
        if get_ident() == self._loop_thread:
            self._push(data)
            return
        try:
            self._loop.call_soon_threadsafe(self._push, data)
        except RuntimeError as error:
            raise ConnectionShutdown(f"the event loop has ended: {error}") from error

    def close(self) -> None:
        """Closes the connection, from any thread; what is on its way fails."""
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
        if get_ident() == self._loop_thread:
            self._release()
        else:
            try:
                self._loop.call_soon_threadsafe(self._release)
            except RuntimeError:
                # The loop has ended, so it watches nothing any more.
                self._socket.close()
        if not self.is_defunct:
            self.error_all_requests(ConnectionShutdown(f"connection to {self.endpoint} was closed"))
        # Whoever waits for the handshake need not wait until its time is up.
        self.connected_event.set()

    def _watch(self) -> None:
        if not self.is_closed:
            self._loop.add_reader(self._socket.fileno(), self._read)

    def _release(self) -> None:
        number = self._socket.fileno()
        if number >= 0 and not self._loop.is_closed():
            self._loop.remove_reader(number)
            self._loop.remove_writer(number)
        self._socket.close()

    def _push(self, data: bytes) -> None:
        self._pending.append(data)
        if not self._flushing:
            # One write takes all that is sent in this turn of the loop.
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self.is_closed:
            return
        data = b"".join(self._pending)
        try:
            sent = self._socket.send(data)
        except _NOT_NOW:
            sent = 0
        except OSError as error:
            self.defunct(error)
            return
        self._pending = [data[sent:]] if sent < len(data) else []
        self._flushing = bool(self._pending)
        if self._flushing != self._writing:
            self._writing = self._flushing
            if self._writing:
                self._loop.add_writer(self._socket.fileno(), self._flush)
            else:
                self._loop.remove_writer(self._socket.fileno())

    def _read(self) -> None:
        try:
            while True:
                data = self._socket.recv(self.in_buffer_size)
                self._iobuf.write(data)
                if len(data) < self.in_buffer_size:
                    break
        except _NOT_NOW:
            data = None
        except OSError as error:
            self.defunct(error)
            return
        if self._iobuf.tell():
            self.process_io_buffer()
        if data == b"":
            self.defunct(ConnectionShutdown(f"{self.endpoint} has closed the connection"))


class _Timer:
    """A call to come, which any thread may call off."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._over = False
        loop.call_soon_threadsafe(self._start, seconds, callback)

    def cancel(self) -> None:
        """Calls it off. Harmless when it is over."""
        self._over = True
        try:
            self._loop.call_soon_threadsafe(self._stop)
        except RuntimeError:
            # The loop has ended, and calls nothing any more.
            return

    def _start(self, seconds: float, callback: Callable[[], None]) -> None:
        if not self._over:
            self._handle = self._loop.call_later(seconds, callback)

    def _stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
