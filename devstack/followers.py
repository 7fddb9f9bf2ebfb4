"""What watches a replay of `make run`: a subscription, a watched row, and the live boards."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from google.protobuf.empty_pb2 import Empty

from eventspine.v1 import subscription_pb2
from eventspine.v1.query_pb2_grpc import QueryServiceStub
from flights.v1 import flight_pb2, views_pb2
from flights.v1.views_pb2_grpc import FlightQueriesStub

AIRPORTS = ("EWR", "JFK", "LGA")
WATCHED = ("JFK", "2013-01-01")
BOARD_FIRST_SECONDS = 0.5
BOARD_SECONDS = 1.0
BOARD_ROWS = 4
SEEN_SECONDS = 60.0


@dataclass
class Seen:
    """What the followers have seen."""

    events: int = 0
    changes: int = 0
    lists: int = 0
    types: dict[str, int] = field(default_factory=dict)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def reaches(self, events: int) -> None:
        """Waits until the subscription has seen so many events.

        Raises:
            TimeoutError: It has not in a minute.
        """
        async with asyncio.timeout(SEEN_SECONDS):
            while self.events < events:
                self.moved.clear()
                await self.moved.wait()


def say(text: str = "") -> None:
    """Prints a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@asynccontextmanager
async def following(channel: grpc.aio.Channel) -> AsyncIterator[Seen]:
    """Follows a platform until the context is left; what goes wrong ends the context."""
    seen = Seen()
    async with asyncio.TaskGroup() as group:
        followers = [
            group.create_task(_subscribe(channel, seen)),
            group.create_task(_watch_day(channel, seen)),
            group.create_task(_show_boards(channel, seen)),
        ]
        yield seen
        for follower in followers:
            follower.cancel()


async def _subscribe(channel: grpc.aio.Channel, seen: Seen) -> None:
    """Subscribes to all events from the beginning and counts them by type."""
    request = subscription_pb2.SubscribeRequest(beginning=Empty(), batch_records_max=500)
    async for message in QueryServiceStub(channel).Subscribe(request):
        for record in message.batch.records:
            name = record.type.rpartition(".")[2]
            seen.types[name] = seen.types.get(name, 0) + 1
        seen.events += len(message.batch.records)
        seen.moved.set()


async def _watch_day(channel: grpc.aio.Channel, seen: Seen) -> None:
    """Watches one row of one view and counts its changes."""
    request = views_pb2.WatchAirportDayRequest(origin=WATCHED[0], date=WATCHED[1])
    async for message in FlightQueriesStub(channel).WatchAirportDay(request):
        seen.changes += message.HasField("row")


async def _show_boards(channel: grpc.aio.Channel, seen: Seen) -> None:
    """Prints the head of each airport's live board now and then."""
    await asyncio.sleep(BOARD_FIRST_SECONDS)
    while True:
        for line in await board_lines(channel, seen):
            say(line)
        await asyncio.sleep(BOARD_SECONDS)


async def board_lines(channel: grpc.aio.Channel, seen: Seen) -> list[str]:
    """Returns the head of each airport's live board, a line for each that is not empty."""
    stub = FlightQueriesStub(channel)
    lines = []
    for airport in AIRPORTS:
        request = views_pb2.ListBoardEntriesRequest(origin=airport, limit=BOARD_ROWS)
        rows = [row async for batch in stub.ListBoardEntries(request) for row in batch.rows]
        seen.lists += 1
        if rows:
            lines.append(f"  {airport} {rows[0].date}  " + "  ".join(map(_board_entry, rows)))
    return lines


def _board_entry(row: views_pb2.BoardEntry) -> str:
    number = f"{row.carrier}{row.flight_number}"
    left = "   -"
    if row.status == flight_pb2.FLIGHT_STATUS_DEPARTED:
        left = f"{row.departure_delay_minutes:+4d}"
    return f"{row.departure_clock} {number:<6} {row.destination} {left}"
