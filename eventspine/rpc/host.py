"""Hosts methods over gRPC; promise: what is bound answers, and a stop sends callers elsewhere.

One server, one loop, one address. Health and reflection are hosted beside the methods. Health says
NOT_SERVING from listening on to serving, and from draining on.
"""

import errno
import socket
from collections.abc import Sequence
from typing import Any, Final

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from eventspine.rpc import limits
from eventspine.rpc.address import split_address
from eventspine.rpc.call import Context, OpenCalls, refuse, stream_call, unary_call
from eventspine.rpc.method import Method
from eventspine.rpc.observe import CallCounts
from eventspine.rpc.tls import Tls
from eventspine.storage.errors import StoreUnavailableError

_REFLECTION: Final = f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"

OPTIONS: Final = (
    # Two processes on one port would share its callers by chance; the second one has to fail.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", limits.RECEIVE_BYTES_MAX),
    ("grpc.max_concurrent_streams", 10_000),
    # The transport cancels calls by chance when over 1,000 have not begun, and callers are told
    # CANCELLED for no reason of theirs. The command service bounds its commands by OVERLOADED.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    # A caller that vanished without a word is noticed after 80 s.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Callers may ask every 10 s whether the server lives, also while a subscription is silent.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)
"""What the transport is told. Source: gRPC's keepalive guide."""


class PortTakenError(Exception):
    """Nothing could listen on the address; the text names it and the cure. Nothing is hosted."""


class Host:
    """A gRPC server for methods, with health and reflection."""

    def __init__(
        self,
        methods: Sequence[Method] = (),
        *,
        address: str = "127.0.0.1:0",
        tls: Tls | None = None,
        counts: CallCounts | None = None,
    ) -> None:
        """Prepares to host methods of any services.

        Args:
            methods: Each with exactly one handler, no two with the same name in one service.
            address: `host:port`; port 0 takes a free one.
            tls: The certificates to serve with; None serves without encryption.
            counts: Counts the calls; None leaves them uncounted.

        Raises:
            ValueError: A method is given twice, or has not exactly one handler.
        """
        self._address = address
        self._tls = tls
        self._counts = counts
        self._calls = OpenCalls()
        self._router = _Router()
        self._add(methods)
        self._server: aio.Server | None = None
        self._health = health.aio.HealthServicer()

    @property
    def open_streams(self) -> int:
        """How many streams are being served: subscriptions, watches, lists and bulk streams."""
        return self._calls.open_streams

    async def start(self) -> str:
        """Listens and serves. Returns the address that is bound, `host:port`.

        Raises:
            AddressError: The address is not written as one.
            PortTakenError: Something else listens there, or the address is not of this machine.
        """
        bound = await self.listen()
        await self.serve()
        return bound

    async def listen(self) -> str:
        """Listens, answers health with NOT_SERVING, and refuses all else until it serves.

        Returns:
            The address that is bound, `host:port`.

        Raises:
            AddressError: The address is not written as one.
            PortTakenError: Something else listens there, or the address is not of this machine.
        """
        server = aio.server(options=OPTIONS)
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_generic_rpc_handlers((self._router,))
        bound = _bind(server, self._address, self._tls)
        await server.start()
        self._server = server
        return bound

    async def serve(self, methods: Sequence[Method] = ()) -> None:
        """Answers from now on, these methods too, and says so to who asks for its health.

        Raises:
            ValueError: A method is given twice, or has not exactly one handler.
        """
        self._add(methods)
        names = sorted({path.split("/")[1] for path in self._router.handlers})
        self._router.handlers[_REFLECTION] = _reflection((*names, health.SERVICE_NAME))
        self._router.serving = True
        for service in ("", *names):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Says to who asks for its health that it serves no longer; calls are still answered."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Stops: health says so, streams end with SHUTTING_DOWN, unary calls may finish.

        Calls that are still open after `grace_seconds` are cancelled. Stopping twice is fine.
        """
        if self._server is None:
            return
        server, self._server = self._server, None
        await self.drain()
        self._calls.stop()
        await server.stop(grace_seconds)

    def _add(self, methods: Sequence[Method]) -> None:
        handlers = self._router.handlers
        for method in methods:
            path = f"/{method.service}/{method.name}"
            if path in handlers:
                raise ValueError(f"{path[1:]} is hosted twice; host it once")
            handlers[path] = _transport_handler(method, self._calls, self._counts)


class _Router(grpc.GenericRpcHandler):
    """Finds the handler of a call, and refuses all calls for as long as the host does not serve.

    Attributes:
        handlers: By path, `/service/method`.
        serving: Whether calls are answered.
    """

    def __init__(self) -> None:
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self.serving = False

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        path = handler_call_details.method
        if self.serving:
            return self.handlers.get(path)

        async def starting(_: Any, context: Context) -> None:
            text = "the process has not opened its store yet; try another instance"
            await refuse(context, StoreUnavailableError(text, cause="starting"), path[1:], None)

        return grpc.stream_stream_rpc_method_handler(starting)


def _reflection(names: Sequence[str]) -> "grpc.RpcMethodHandler[Any, Any]":
    """Returns the handler that tells which services there are, and their protos."""
    servicer = reflection.aio.ReflectionServicer((*names, reflection.SERVICE_NAME))
    return grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )


def _transport_handler(
    method: Method, calls: OpenCalls, counts: CallCounts | None
) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """Returns the transport's handler of a method, from raw bytes to raw bytes.

    Raises:
        ValueError: The method has not exactly one handler.
    """
    given = [h for h in (method.unary, method.server_stream, method.bidi_stream) if h is not None]
    if len(given) != 1:
        raise ValueError(
            f"{method.service}/{method.name} has {len(given)} handlers; give it exactly one"
        )
    if method.unary is not None:
        ask = unary_call(method, method.unary, calls)
        return grpc.unary_unary_rpc_method_handler(counts.unary(method, ask) if counts else ask)
    handler = method.server_stream or method.bidi_stream
    assert handler is not None, "one of three is given, and it is not the first"
    many_requests = method.bidi_stream is not None
    serve = stream_call(method, handler, calls, many_requests=many_requests)
    serve = counts.stream(method, serve) if counts else serve
    if many_requests:
        return grpc.stream_stream_rpc_method_handler(serve)
    return grpc.unary_stream_rpc_method_handler(serve)


def _bind(server: aio.Server, address: str, tls: Tls | None) -> str:
    """Binds the server; returns the address with the port that it got.

    Raises:
        AddressError: The address is not written as one.
        PortTakenError: Something else listens there, or the address is not of this machine.
    """
    on_network = not address.startswith("unix:")
    if on_network:
        host, port = split_address(address)
        if port:
            _probe(address, host, port)
    try:
        if tls is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, tls.credentials())
    except RuntimeError as error:
        raise PortTakenError(
            f"cannot listen on {address}; choose a free port of this machine, or port 0"
        ) from error
    return f"{address.rpartition(':')[0]}:{bound}" if on_network else address


def _probe(address: str, host: str, port: int) -> None:
    """Tries the address with a plain socket, because the transport does not say why it cannot.

    Raises:
        PortTakenError: Something else listens there, or the address is not of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, place = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "another process listens there; stop it or choose another port" if taken else error
        raise PortTakenError(f"cannot listen on {address}: {why}") from error
