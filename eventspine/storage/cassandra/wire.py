"""Requests on the driver's connections; promise: sent at most once, and always an end.

The driver keeps the connections, the nodes and the ring. Its own request object (`ResponseFuture`)
is left out: it costs three times what is here, most of it for retries and timers of its own, which
an append must not have.
Source: `ResponseFuture._query`, `_set_result` and `_on_timeout` of cassandra-driver 3.30, whose
dealings with a connection are repeated here step by step.
"""

import asyncio
from collections import deque
from functools import partial
from threading import get_ident
from typing import Any

from cassandra import OperationTimedOut
from cassandra.cluster import NoHostAvailable, Session
from cassandra.connection import (
    ConnectionException,
    ConnectionShutdown,
)
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import ProtocolHandler, ResultMessage

_encode = ProtocolHandler.encode_message
_decode = ProtocolHandler.decode_message

_BUSY_SECONDS = 0.005
_SWEEP_SECONDS = 0.1


class _Request:
    """A request on its way."""

    __slots__ = ("answer", "connection", "deadline", "done", "pool", "request_id")

    def __init__(self, answer: "asyncio.Future[Any]", deadline: float) -> None:
        self.answer = answer
        self.deadline = deadline
        self.done = False
        self.connection: Any = None
        self.pool: Any = None
        self.request_id = 0


class Wire:
    """Sends messages and waits for their answers. To be used on one event loop."""

    def __init__(
        self, session: Session, keyspace: str, *, timeout_seconds: float, in_flight_max: int
    ) -> None:
        """Uses the connections of an open session of the driver."""
        self._session = session
        self._keyspace = keyspace
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._loop_thread = get_ident()
        self._free = in_flight_max
        self._queue: deque[asyncio.Future[None]] = deque()
        # In the order of their deadlines, because all have the same time.
        self._waiting: dict[_Request, None] = {}
        self._sweeping = False
        self._turn = 0

    @property
    def has_one_node(self) -> bool:
        """Whether there is no choice of a node, so that no routing key is needed."""
        return len(self._session._pools) < 2

    async def ask(
        self,
        message: Any,
        *,
        key: bytes | None = None,
        result_metadata: Any = None,
        skip_nodes: int = 0,
    ) -> ResultMessage:
        """Sends a message to one node, and returns its answer.

        Args:
            message: A message of the driver's protocol.
            key: The encoded partition key, so that a replica is asked; None: any node.
            result_metadata: The columns of the result, where the message asks to leave them out.
            skip_nodes: How many nodes to leave out that would be asked first.

        Raises:
            NoHostAvailable: It was not sent.
            Exception: Any other error of the driver, or of the node: it was sent.
        """
        if self._free:
            self._free -= 1
        else:
            await self._queue_up()
        request = _Request(self._loop.create_future(), self._loop.time() + self._timeout_seconds)
        try:
            while refusals := self._offer(request, message, key, result_metadata, skip_nodes):
                if not _is_busy(refusals) or self._loop.time() > request.deadline:
                    raise NoHostAvailable("Unable to send", refusals)
                await asyncio.sleep(_BUSY_SECONDS)
        except BaseException:
            self._free_slot()
            raise
        response = await request.answer
        if isinstance(response, ResultMessage):
            return response
        raise response.to_exception() if hasattr(response, "to_exception") else response

    async def _queue_up(self) -> None:
        """Waits until one of those on their way ends and leaves its place."""
        place = self._loop.create_future()
        self._queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._free_slot()
            raise

    def _free_slot(self) -> None:
        while self._queue:
            place = self._queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _offer(
        self, request: _Request, message: Any, key: bytes | None, metadata: Any, skip_nodes: int
    ) -> dict[Any, Exception]:
        """Gives a message to the first node that takes it.

        Returns:
            Empty; or why none takes it, by node, when none does.
        """
        refusals: dict[Any, Exception] = {}
        for host in self._nodes(key)[skip_nodes:]:
            try:
                self._give(request, self._pool(host), message, metadata)
            except (ConnectionException, NoConnectionsAvailable) as error:
                refusals[host] = error
            else:
                return {}
        return refusals or {None: ConnectionException("no node is up")}

    def _nodes(self, key: bytes | None) -> list[Any]:
        """Returns the nodes: the replicas of the key in the ring's order, then all others in turn.

        That a stream's appends go to the same replica keeps the nodes from contending for it.
        """
        pools = self._session._pools
        hosts = list(pools)
        if len(hosts) < 2:
            return hosts
        first = []
        if key is not None:
            metadata = self._session.cluster.metadata
            first = [host for host in metadata.get_replicas(self._keyspace, key) if host in pools]
        others = [host for host in hosts if host not in first]
        self._turn += 1
        turn = self._turn % len(others) if others else 0
        return [*first, *others[turn:], *others[:turn]]

    def _pool(self, host: Any) -> Any:
        pool = self._session._pools.get(host)
        if pool is None or pool.is_shutdown:
            raise ConnectionException("marked as down", host)
        return pool

    def _give(self, request: _Request, pool: Any, message: Any, metadata: Any) -> None:
        """Sends a message by a node's connection.

        Raises:
            ConnectionException: It was not sent; the node cannot take it.
            NoConnectionsAvailable: It was not sent; the connection has no free number, or is made.
        """
        connection, request_id = pool.borrow_connection(timeout=0)
        request.pool, request.connection, request.request_id = pool, connection, request_id
        self._waiting[request] = None
        try:
            connection.send_msg(
                message,
                request_id,
                partial(self._arrive, request),
                _encode,
                _decode,
                metadata or [],
            )
        except BaseException:
            del self._waiting[request]
            # Either it was not even registered, or it cannot be encoded.
            connection._requests.pop(request_id, None)
            with connection.lock:
                connection.request_ids.append(request_id)
            pool.return_connection(connection)
            raise
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _arrive(self, request: _Request, response: Any) -> None:
        """Takes an answer: on the event loop, or on a thread of the driver that gives up."""
        request.pool.return_connection(request.connection)
        if isinstance(response, ConnectionException) and not isinstance(
            response, ConnectionShutdown
        ):
            request.connection.defunct(response)
        if get_ident() == self._loop_thread:
            self._end(request, response)
        else:
            self._loop.call_soon_threadsafe(self._end, request, response)

    def _end(self, request: _Request, response: Any) -> None:
        if request.done:
            return
        request.done = True
        self._waiting.pop(request, None)
        self._free_slot()
        if not request.answer.done():
            request.answer.set_result(response)

    def _sweep(self) -> None:
        """Ends the requests whose time is over."""
        now = self._loop.time()
        for request in list(self._waiting):
            if request.deadline > now:
                break
            # One that is given up may take its connection with it, and all others on that.
            if not request.done:
                self._abandon(request)
        self._sweeping = bool(self._waiting)
        if self._sweeping:
            self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _abandon(self, request: _Request) -> None:
        """Ends a request without an answer; its number is not used again before that has come."""
        connection = request.connection
        if connection._requests.pop(request.request_id, None) is not None:
            with connection.lock:
                connection.orphaned_request_ids.add(request.request_id)
                if len(connection.orphaned_request_ids) >= connection.orphaned_threshold:
                    connection.orphaned_threshold_reached = True
            request.pool.return_connection(connection, stream_was_orphaned=True)
        self._end(request, OperationTimedOut())


def _is_busy(refusals: dict[Any, Exception]) -> bool:
    """Tells whether some node would take a message if there were room on its connection."""
    return any(isinstance(error, NoConnectionsAvailable) for error in refusals.values())
