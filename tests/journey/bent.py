"""A wrong platform: a host in front of a right one which bends what passes through it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message
from grpc import aio

Bend = Callable[[Any], None]


class Fault(NamedTuple):
    """What is done wrongly in the calls of one method.

    Attributes:
        method: The end of the method's path.
        kind: The message that is changed, of the request or of the response.
        bend: What is done to each message of that kind.
    """

    method: str
    kind: type[Message]
    bend: Bend

    def passed(self, encoded: bytes) -> bytes:
        message = self.kind.FromString(encoded)
        self.bend(message)
        return message.SerializeToString()


class Forwarding(grpc.GenericRpcHandler):
    """Hands every call on as bytes, whatever its kind: on the wire all kinds are alike."""

    def __init__(self, channel: aio.Channel, fault: Fault | None) -> None:
        self.channel = channel
        self.fault = fault

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        fault = self.fault
        bent = fault is not None and details.method.endswith(fault.method)
        asks = bent and fault.kind.DESCRIPTOR.name.endswith("Request")

        async def forward(
            requests: AsyncIterator[bytes], context: aio.ServicerContext
        ) -> AsyncIterator[bytes]:
            async def asked() -> AsyncIterator[bytes]:
                async for request in requests:
                    yield fault.passed(request) if asks else request

            call = self.channel.stream_stream(details.method)(asked())
            try:
                async for reply in call:
                    yield fault.passed(reply) if bent and not asks else reply
            except aio.AioRpcError as error:
                context.set_trailing_metadata(tuple(error.trailing_metadata()))
                await context.abort(error.code(), error.details())
            finally:
                call.cancel()

        return grpc.stream_stream_rpc_method_handler(forward)


@asynccontextmanager
async def bent(address: str, fault: Fault | None) -> AsyncIterator[str]:
    """Serves what answers at an address at another address, with one fault or none."""
    sizes = [
        ("grpc.max_receive_message_length", 16 * 1024 * 1024),
        ("grpc.max_send_message_length", 16 * 1024 * 1024),
    ]
    async with aio.insecure_channel(address, options=sizes) as channel:
        server = aio.server(options=sizes)
        server.add_generic_rpc_handlers([Forwarding(channel, fault)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(0)
