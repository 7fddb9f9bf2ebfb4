"""Hosts methods over gRPC; promise: what is bound answers, and a stop sends callers elsewhere.

One server, one loop, one address. Health and reflection are hosted beside the methods.
"""

import errno
import socket
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from eventspine.rpc import limits
from eventspine.rpc.address import split_address
from eventspine.rpc.call import OpenCalls, stream_call, unary_call
from eventspine.rpc.method import Method

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
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)
"""What the transport is told. Source: gRPC's keepalive guide."""


class PortTakenError(Exception):
    """Nothing could listen on the address; the text names it and the cure. Nothing is hosted."""


class Host:
    """A gRPC server for methods, with health and reflection."""

    def __init__(self, methods: Sequence[Method], *, address: str = "127.0.0.1:0") -> None:
        """Prepares to host methods of any services.

        Args:
            methods: Each with exactly one handler, no two with the same name in one service.
            address: `host:port`; port 0 takes a free one.

        Raises:
            ValueError: A method is given twice, or has not exactly one handler.
        """
        self._address = address
        self._calls = OpenCalls()
        self._services: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]]
        self._services = defaultdict(dict)
        for method in methods:
            service = self._services[method.service]
            if method.name in service:
                raise ValueError(f"{method.service}/{method.name} is hosted twice; host it once")
            service[method.name] = _transport_handler(method, self._calls)
        self._server: aio.Server | None = None
        self._health = health.aio.HealthServicer()

    @property
    def open_streams(self) -> int:
        """How many streams are being served: subscriptions, watches, lists and bulk streams."""
        return self._calls.open_streams

    async def start(self) -> str:
        """Listens and answers. Returns the address that is bound, `host:port`.

        Raises:
            AddressError: The address is not written as one.
            PortTakenError: Something else listens there, or the address is not of this machine.
        """
        server = aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(service, handlers)
                for service, handlers in self._services.items()
            ]
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        bound = _bind(server, self._address)
        await server.start()
        self._server = server
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def stop(self, grace_seconds: float = 5.0) -> None:
        """Stops: health says so, streams end with SHUTTING_DOWN, unary calls may finish.

        Calls that are still open after `grace_seconds` are cancelled. Stopping twice is fine.
        """
        if self._server is None:
            return
        server, self._server = self._server, None
        await self._health.enter_graceful_shutdown()
        self._calls.stop()
        await server.stop(grace_seconds)


def _transport_handler(method: Method, calls: OpenCalls) -> "grpc.RpcMethodHandler[bytes, bytes]":
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
        return grpc.unary_unary_rpc_method_handler(unary_call(method, method.unary, calls))
    if method.server_stream is not None:
        serve = stream_call(method, method.server_stream, calls, many_requests=False)
        return grpc.unary_stream_rpc_method_handler(serve)
    assert method.bidi_stream is not None, "one of three is given, and it is not the other two"
    serve = stream_call(method, method.bidi_stream, calls, many_requests=True)
    return grpc.stream_stream_rpc_method_handler(serve)


def _bind(server: aio.Server, address: str) -> str:
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
        bound = server.add_insecure_port(address)
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
