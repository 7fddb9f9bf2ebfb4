"""A user of the platform: a caller of both domains that ship, and what journeys do with one."""

import asyncio
from collections.abc import Awaitable, Callable

from grpc import aio

from devstack.conformance.caller import (
    ANYHOW,
    BALANCES,
    Caller,
    Reader,
    collected,
    depositing,
    header,
    kind,
    opening,
    packed,
    projected,
    refusal,
    showing,
    told,
    withdrawing,
)
from flights.v1.flight_pb2_grpc import FlightCommandsStub
from flights.v1.views_pb2_grpc import FlightQueriesStub

__all__ = [
    "ANYHOW",
    "BALANCES",
    "CALL_SECONDS",
    "Reader",
    "User",
    "collected",
    "depositing",
    "eventually",
    "header",
    "kind",
    "opening",
    "packed",
    "projected",
    "refusal",
    "showing",
    "slow_channel",
    "told",
    "withdrawing",
]

CALL_SECONDS = 20.0


class User(Caller):
    """Calls a platform that hosts accounts and flights."""

    def __init__(self, channel: aio.Channel) -> None:
        super().__init__(channel)
        self.flights = FlightCommandsStub(channel)
        self.boards = FlightQueriesStub(channel)


def slow_channel(address: str) -> aio.Channel:
    """Returns a channel of its own whose windows do not grow, so that who stops reading stalls.

    A transport that measures its line may take tens of megabytes ahead of its reader.
    """
    options = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
    return aio.insecure_channel(address, options=options)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Asks until something holds; fails when it does not in time."""
    async with asyncio.timeout(CALL_SECONDS):
        while not await holds():  # noqa: ASYNC110 - no event of this process tells of it
            await asyncio.sleep(0.005)
