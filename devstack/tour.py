"""`make run`: real flights through the whole platform, step by step, and every total checked."""

import argparse
import asyncio
import sys
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from devstack.cli.dev import run_loop
from devstack.cli.failure import EXIT_INTERRUPTED, EXIT_REFUSED, CommandLineError, stop
from devstack.embedded import Embedded
from devstack.flights_data import DAYS_MAX, FlightsNotFoundError, count_commands, flights_file
from devstack.flights_totals import (
    FIRST_DAY,
    FlightTotals,
    airport_day_differences,
    carrier_month_differences,
    flight_totals,
)
from devstack.followers import AIRPORTS, WATCHED, Seen, board_lines, following, say
from devstack.replay import Replayed, replay_flights
from eventspine.process.domains import SHIPPED, find_domains
from eventspine.v1 import admin_pb2, query_pb2
from eventspine.v1.admin_pb2_grpc import AdminServiceStub
from flights.v1 import views_pb2
from flights.v1.views_pb2_grpc import FlightQueriesStub

MAX_WAIT_SECONDS = 30
POLL_SECONDS = 0.05
DIFFERENCES_SHOWN = 10


def main() -> None:
    """Runs the tour; exits with 0 only when every total of the views is that of the file."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--days", type=int, default=14, help="days of 2013 to replay, 1 to 365")
    parser.add_argument("--db", type=Path, required=True, help="the file to keep everything in")
    parser.add_argument(
        "--totals-from", type=Path, help="count the totals in this CSV, not in the one replayed"
    )
    given = parser.parse_args()
    if not 1 <= given.days <= DAYS_MAX:
        parser.error(f"--days is {given.days}; choose 1 to {DAYS_MAX}")
    differences: list[str] = []
    try:
        data = given.totals_from or flights_file()
        run_loop(tour(given.days, given.db, data, differences))
    except CommandLineError as error:
        sys.stderr.write(f"make run: {error}\n")
        sys.exit(error.exit_code)
    except (FlightsNotFoundError, OSError) as error:
        sys.exit(f"make run: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("make run: stopped; what was stored is kept, and a next run goes on\n")
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(1 if differences else 0)


async def tour(days: int, db: Path, data: Path, differences: list[str]) -> None:
    """Replays flights and checks totals.

    Args:
        days: How many days of 2013.
        db: The file. One that is there already is used: what it holds is answered as replayed.
        data: The CSV, zipped or not, in which the totals are counted.
        differences: Gets a sentence for each total that is not as in the data file.

    Raises:
        CommandLineError: The file holds more than the flights of these days. Nothing was changed.
        OSError: The data cannot be read.
    """
    began = perf_counter()
    say(f"counting {days} days of flights straight from {data.name}, by code of its own")
    totals = flight_totals(days, data)
    db.parent.mkdir(parents=True, exist_ok=True)
    async with Embedded(find_domains(SHIPPED), db=db) as platform:
        await _check_holds_no_more(platform, days, db)
        say(f"platform on {platform.address}, everything kept in {db}")
        say("the live boards as they change: local time, flight, destination, minutes late")
        async with grpc.aio.insecure_channel(platform.address) as channel:
            async with following(channel) as seen:
                replayed = await replay_flights(platform.address, days)
                await seen.reaches(sum(await platform.parts.backend.log.ends()))
            await _views_caught_up(channel)
            rows = await _rows(channel, replayed.token)
            await _say_boards(channel, seen)
            await _way(platform, replayed, seen)
    differences += _differences(totals, *rows) + list(replayed.problems)
    _conclude(differences, totals, days, perf_counter() - began)


async def _check_holds_no_more(platform: Embedded, days: int, db: Path) -> None:
    held = sum(await platform.parts.backend.log.ends())
    # Every command of a replay stores one event.
    if held > (most := count_commands(days)):
        stop(
            f"{db} holds {held:,} events, and {days} days of flights are {most:,}; "
            "choose another file with DB=, or as many days as before",
            EXIT_REFUSED,
        )


async def _views_caught_up(channel: grpc.aio.Channel) -> None:
    """Waits until every view has folded every event, also those that an earlier run left it."""
    admin = AdminServiceStub(channel)
    async with asyncio.timeout(MAX_WAIT_SECONDS):
        while True:
            reply = await admin.ListViews(admin_pb2.ListViewsRequest())
            if not any(build.lag_events for view in reply.views for build in view.builds):
                return
            await asyncio.sleep(POLL_SECONDS)


async def _rows(channel: grpc.aio.Channel, token: str) -> tuple[list[Any], list[Any]]:
    """Reads the totals of the views, as fresh as the last command."""
    stub = FlightQueriesStub(channel)
    header = None
    if token:
        header = query_pb2.QueryHeader(
            token=token,
            max_wait=Duration(seconds=MAX_WAIT_SECONDS),
            stale_policy=query_pb2.STALE_POLICY_FAIL,
        )
    days: list[Any] = []
    for airport in AIRPORTS:
        request = views_pb2.ListAirportDaysRequest(header=header, origin=airport)
        days += [row async for batch in stub.ListAirportDays(request) for row in batch.rows]
    months_request = views_pb2.ListCarrierMonthsRequest(header=header)
    months = [row async for batch in stub.ListCarrierMonths(months_request) for row in batch.rows]
    return days, months


def _differences(totals: FlightTotals, days: list[Any], months: list[Any]) -> list[str]:
    return airport_day_differences(totals, days) + carrier_month_differences(totals, months)


async def _say_boards(channel: grpc.aio.Channel, seen: Seen) -> None:
    lines = await board_lines(channel, seen)
    for line in lines:
        say(line)
    if not lines:
        say("  the boards are empty: every flight has arrived, or was cancelled or diverted")


async def _way(platform: Embedded, replayed: Replayed, seen: Seen) -> None:
    """Prints one line for each step of the way, each naming the file that did it."""
    backend = platform.parts.backend
    end = sum(await backend.log.ends())
    commits: int = getattr(backend.events, "commits", 0)
    views = len(await backend.registry.views())
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
            f"{replayed.stored:,} took effect now, {replayed.replayed:,} at an earlier run, "
            f"{replayed.failed:,} refused",
        ),
        (
            "append",
            "command_svc/append.py, eventspine/storage/sqlite/append.py",
            f"{end:,} events in the file; {commits:,} transactions in this run, views included",
        ),
        (
            "publish",
            "command_svc/publish.py",
            f"{replayed.stored:,} new events handed to whoever follows, after the fsync",
        ),
        (
            "sequence",
            "eventspine/storage/sqlite/append.py",
            f"1 to {end:,}, without a gap (in memory: processor_svc/sequence.py)",
        ),
        (
            "project",
            "processor_svc/project.py, domains/flights/airport_days.py",
            f"{views} views folded, to the last event",
        ),
        ("query out", "query_svc/serve.py", f"{seen.lists} lists of live boards answered"),
        (
            "watch, subscribe",
            "query_svc/watch.py, query_svc/subscribe.py",
            f"{' '.join(WATCHED)} told {seen.changes:,} times; {seen.events:,} events received",
        ),
    )
    for number, (name, files, done) in enumerate(steps, 1):
        say(f"{number}  {name:<16}  {done}\n   {'':<16}  by {files}")
    events = ", ".join(f"{count:,} {name}" for name, count in sorted(seen.types.items()))
    say(f"   {'':<16}  {events}")


def _conclude(differences: list[str], totals: FlightTotals, days: int, seconds: float) -> None:
    last: date = FIRST_DAY + timedelta(days=days - 1)
    say()
    for difference in differences[:DIFFERENCES_SHOWN]:
        say(f"DIFFERS  {difference}")
    if differences:
        say(f"{len(differences)} differences from the totals of the data file; {seconds:.1f} s")
        return
    say(
        f"{totals.flights:,} flights from {FIRST_DAY} to {last}: departures, mean delays and "
        f"cancellations of\n{len(totals.airport_days)} airport days and "
        f"{len(totals.carrier_months)} carrier months equal the totals counted straight from the "
        f"CSV; {seconds:.1f} s in all"
    )


if __name__ == "__main__":
    main()
