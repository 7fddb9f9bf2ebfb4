"""`make run`: real flights through the whole platform, step by step, and every total checked."""

import argparse
import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc

from devstack.cli.dev import run_loop
from devstack.cli.failure import CommandLineError
from devstack.domains import shipped_domains
from devstack.embedded import Embedded
from devstack.flights_data import DAYS_MAX, FlightsNotFoundError, flights_file
from devstack.flights_totals import (
    FlightTotals,
    airport_day_differences,
    carrier_month_differences,
    flight_totals,
)
from devstack.replay import Replayed, replay_flights
from eventspine.v1 import query_pb2, subscription_pb2
from eventspine.v1.query_pb2_grpc import QueryServiceStub
from flights.v1 import flight_pb2, views_pb2
from flights.v1.views_pb2_grpc import FlightQueriesStub

AIRPORTS = ("EWR", "JFK", "LGA")
BOARD_SECONDS = 2.0
BOARD_ROWS = 4
SEEN_SECONDS = 60.0
DIFFERENCES_SHOWN = 10
FRESH = {"max_wait": {"seconds": 30}, "stale_policy": query_pb2.STALE_POLICY_FAIL}


@dataclass
class Seen:
    """What the followers of the tour have seen."""

    events: int = 0
    caught_up: int = 0
    changes: int = 0
    boards: int = 0
    types: dict[str, int] = field(default_factory=dict)
    moved: asyncio.Event = field(default_factory=asyncio.Event)


def say(text: str = "") -> None:
    """Prints a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Runs the tour; exits with 0 only when every total of the views is that of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=14, help="days of 2013 to replay, 1 to 365")
    parser.add_argument("--db", type=Path, default=None, help="the file; begun anew by default")
    given = parser.parse_args()
    if not 1 <= given.days <= DAYS_MAX:
        parser.error(f"--days is {given.days}; choose 1 to {DAYS_MAX}")
    differences: list[str] = []
    try:
        run_loop(tour(given.days, given.db, differences))
    except (CommandLineError, FlightsNotFoundError) as error:
        sys.exit(f"make run: {error}")
    sys.exit(1 if differences else 0)


async def tour(days: int, db: Path, differences: list[str]) -> None:
    """Replays flights and checks totals.

    Args:
        days: How many days of 2013.
        db: The file. One that is there already is used: what it holds is answered as replayed.
        differences: Gets a sentence for each total that is not as in the data file.
    """
    data = flights_file()
    db.parent.mkdir(parents=True, exist_ok=True)
    began = perf_counter()
    async with Embedded(shipped_domains(), db=db) as platform:
        say(f"platform on {platform.address}, everything kept in {db}")
        async with grpc.aio.insecure_channel(platform.address) as channel:
            seen = Seen()
            commits = _commits(platform)
            replayed = await _replay(platform, channel, days, seen)
            totals = flight_totals(days, data)
            found = await _compare(channel, replayed.token, totals)
            await _way(platform, replayed, seen, _commits(platform) - commits)
    differences += found + list(replayed.problems)
    _conclude(differences, totals, perf_counter() - began)


def _commits(platform: Embedded) -> int:
    commits: int = getattr(platform.parts.backend.events, "commits", 0)
    return commits


async def _replay(platform: Embedded, channel: grpc.aio.Channel, days: int, seen: Seen) -> Replayed:
    """Replays flights while followers watch; returns when all have seen all."""
    followers = [
        asyncio.create_task(_follow(channel, seen)),
        asyncio.create_task(_watch_day(channel, seen)),
        asyncio.create_task(_show_boards(channel, seen)),
    ]
    try:
        replayed = await replay_flights(platform.address, days)
        (end,) = await platform.parts.backend.log.ends()
        await _all_seen(seen, end)
        return replayed
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


async def _all_seen(seen: Seen, end: int) -> None:
    async with asyncio.timeout(SEEN_SECONDS):
        while seen.events < end:
            seen.moved.clear()
            await seen.moved.wait()


async def _follow(channel: grpc.aio.Channel, seen: Seen) -> None:
    """Subscribes to all events from the beginning and counts them by type."""
    request = subscription_pb2.SubscribeRequest(beginning={}, batch_records_max=500)
    async for message in QueryServiceStub(channel).Subscribe(request):
        for record in message.batch.records:
            name = record.type.rpartition(".")[2]
            seen.types[name] = seen.types.get(name, 0) + 1
        seen.events += len(message.batch.records)
        seen.moved.set()
        seen.caught_up += message.HasField("caught_up")


async def _watch_day(channel: grpc.aio.Channel, seen: Seen) -> None:
    """Watches one row of one view and counts its changes."""
    request = views_pb2.WatchAirportDayRequest(origin="JFK", date="2013-01-01")
    async for message in FlightQueriesStub(channel).WatchAirportDay(request):
        seen.changes += message.HasField("row")


async def _show_boards(channel: grpc.aio.Channel, seen: Seen) -> None:
    """Prints the head of each airport's live board now and then, for as long as it changes."""
    stub = FlightQueriesStub(channel)
    while True:
        await asyncio.sleep(BOARD_SECONDS)
        for airport in AIRPORTS:
            request = views_pb2.ListBoardEntriesRequest(origin=airport, limit=BOARD_ROWS)
            rows = [row async for batch in stub.ListBoardEntries(request) for row in batch.rows]
            if rows:
                say(f"  board {airport} {rows[0].date}  " + "  ".join(map(_board_line, rows)))
        seen.boards += 1


def _board_line(row: views_pb2.BoardEntry) -> str:
    number = f"{row.carrier}{row.flight_number}"
    state = "    "
    if row.status == flight_pb2.FLIGHT_STATUS_DEPARTED:
        state = f"{row.departure_delay_minutes:+4d}"
    return f"{row.departure_clock} {number:<6}>{row.destination} {state}"


async def _compare(channel: grpc.aio.Channel, token: str, totals: FlightTotals) -> list[str]:
    """Reads the totals of the views, as fresh as the last command, and compares them."""
    stub = FlightQueriesStub(channel)
    header: dict[str, Any] = {"token": token, **FRESH} if token else {}
    days: list[Any] = []
    for airport in AIRPORTS:
        request = views_pb2.ListAirportDaysRequest(header=header, origin=airport)
        days += [row async for batch in stub.ListAirportDays(request) for row in batch.rows]
    months_request = views_pb2.ListCarrierMonthsRequest(header=header)
    months = [row async for batch in stub.ListCarrierMonths(months_request) for row in batch.rows]
    return airport_day_differences(totals, days) + carrier_month_differences(totals, months)


async def _way(platform: Embedded, replayed: Replayed, seen: Seen, commits: int) -> None:
    """Prints one line for each step of the way, each naming the file that did it."""
    backend = platform.parts.backend
    (end,) = await backend.log.ends()
    events = ", ".join(f"{count:,} {name}" for name, count in sorted(seen.types.items()))
    rate = replayed.commands / replayed.seconds
    say()
    steps = (
        (
            "command in",
            "command_svc/serve.py",
            f"{replayed.commands:,} commands over gRPC in {replayed.seconds:.1f} s, {rate:,.0f}/s",
        ),
        (
            "decide",
            "command_svc/decide.py, domains/flights/flight.py",
            f"{replayed.stored:,} took effect, {replayed.replayed:,} had before, "
            f"{replayed.failed:,} refused",
        ),
        (
            "append",
            "command_svc/append.py, eventspine/storage/sqlite/append.py",
            f"{end:,} events stored; {commits:,} transactions in all",
        ),
        ("publish", "command_svc/publish.py", "handed to whoever follows, after the fsync"),
        (
            "sequence",
            "eventspine/storage/sqlite/append.py",
            f"1 to {end:,}, without a gap (other stores: processor_svc/sequence.py)",
        ),
        (
            "project",
            "processor_svc/project.py, domains/flights/*.py",
            f"{len(await backend.registry.views())} views folded",
        ),
        ("query", "query_svc/serve.py", f"live boards listed {seen.boards * len(AIRPORTS)} times"),
        (
            "watch, subscribe",
            "query_svc/watch.py, query_svc/subscribe.py",
            f"one row changed {seen.changes:,} times; {seen.events:,} events received",
        ),
    )
    for number, (name, file, done) in enumerate(steps, 1):
        say(f"{number}  {name:<16}  {done}\n   {'':<16}  by {file}")
    say(f"   events: {events}")


def _conclude(differences: list[str], totals: FlightTotals, seconds: float) -> None:
    rows = len(totals.airport_days) + len(totals.carrier_months)
    say()
    for difference in differences[:DIFFERENCES_SHOWN]:
        say(f"DIFFERS  {difference}")
    if differences:
        say(f"{len(differences)} differences from the data file; {seconds:.1f} s")
        return
    say(
        f"{totals.flights:,} flights: {len(totals.airport_days)} airport days and "
        f"{len(totals.carrier_months)} carrier months ({rows} rows) equal the totals computed "
        f"straight from the CSV; {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
