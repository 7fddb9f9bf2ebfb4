"""`make run`: real flights through the whole platform, step by step, and every total checked."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import grpc
from google.protobuf.duration_pb2 import Duration

from devstack.cli.dev import run_loop
from devstack.cli.failure import EXIT_INTERRUPTED, EXIT_REFUSED, CommandLineError, refused, stop
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
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--db", type=Path, help="the file to keep everything in")
    where.add_argument("--address", help="a platform that runs already, such as that of make stack")
    parser.add_argument(
        "--totals-from", type=Path, help="count the totals in this CSV, not in the one replayed"
    )
    given = parser.parse_args()
    if not 1 <= given.days <= DAYS_MAX:
        parser.error(f"--days is {given.days}; choose 1 to {DAYS_MAX}")
    differences: list[str] = []
    try:
        data = given.totals_from or flights_file()
        run_loop(tour(given.days, given.db or given.address, data, differences))
    except CommandLineError as error:
        sys.stderr.write(f"make run: {error}\n")
        sys.exit(error.exit_code)
    except (FlightsNotFoundError, OSError) as error:
        sys.exit(f"make run: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("make run: stopped; what was stored is kept, and a next run goes on\n")
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(1 if differences else 0)


async def tour(days: int, where: Path | str, data: Path, differences: list[str]) -> None:
    """Replays flights and checks totals.

    Args:
        days: How many days of 2013.
        where: A file for an embedded platform, or the address of a platform that runs already. What
            it holds of the flights is answered as replayed.
        data: The CSV, zipped or not, in which the totals are counted.
        differences: Gets a sentence for each total that is not as in the data file.

    Raises:
        CommandLineError: The platform holds more than the flights of these days, or cannot be
            reached. Nothing was changed.
        OSError: The data cannot be read.
    """
    began = perf_counter()
    say(f"counting {days} days of flights straight from {data.name}, by code of its own")
    totals = flight_totals(days, data)
    async with _running(where) as (address, steps), grpc.aio.insecure_channel(address) as channel:
        status = await _status(channel)
        held = sum(end.sequence for end in status.ends)
        _check_holds_no_more(held, days, where)
        say(f"platform on {address}, everything kept in {status.location}")
        say("the live boards as they change: local time, flight, destination, minutes late")
        async with following(channel) as seen:
            replayed = await replay_flights(address, days)
            end = held + replayed.stored
            await seen.reaches(end)
        views = await _views_at(channel, end)
        rows = await _rows(channel, replayed.token)
        await _say_boards(channel, seen)
        _way(Walked(replayed, seen, end, views), steps())
    differences += _differences(totals, *rows) + list(replayed.problems)
    _conclude(differences, totals, days, perf_counter() - began)


class Steps(NamedTuple):
    """What of the way depends on the backend: the files that append and sequence, and how much."""

    append: str
    sequence: str
    commits: str


class Walked(NamedTuple):
    """How far the flights have come.

    Attributes:
        end: How many events are in the log.
        views: How many views there are.
    """

    replayed: Replayed
    seen: Seen
    end: int
    views: int


@asynccontextmanager
async def _running(where: Path | str) -> AsyncIterator[tuple[str, Callable[[], Steps]]]:
    """Gives the address of a platform, and what tells of its steps when all is done."""
    if isinstance(where, str):
        yield where, lambda: Steps("cassandra/append.py", "processor_svc/sequence.py", "")
        return
    where.parent.mkdir(parents=True, exist_ok=True)
    async with Embedded(find_domains(SHIPPED), db=where) as platform:
        events = platform.parts.backend.events

        def steps() -> Steps:
            commits: int = getattr(events, "commits", 0)
            told = f"; {commits:,} transactions in this run, views included"
            return Steps("sqlite/append.py", "eventspine/storage/sqlite/append.py", told)

        yield platform.address, steps


async def _status(channel: grpc.aio.Channel) -> admin_pb2.GetStatusResponse:
    try:
        return await AdminServiceStub(channel).GetStatus(admin_pb2.GetStatusRequest())
    except grpc.aio.AioRpcError as error:
        raise refused(error) from error


def _check_holds_no_more(held: int, days: int, where: Path | str) -> None:
    # Every command of a replay stores one event.
    if held > (most := count_commands(days)):
        stop(
            f"{where} holds {held:,} events, and {days} days of flights are {most:,}; "
            "choose another file with DB=, or as many days as before",
            EXIT_REFUSED,
        )


async def _views_at(channel: grpc.aio.Channel, end: int) -> int:
    """Waits until every view has folded every event; returns how many views there are."""
    admin = AdminServiceStub(channel)
    async with asyncio.timeout(MAX_WAIT_SECONDS):
        while True:
            views = (await admin.ListViews(admin_pb2.ListViewsRequest())).views
            if all(_passed(build) >= end for view in views for build in view.builds):
                return len(views)
            await asyncio.sleep(POLL_SECONDS)


def _passed(build: admin_pb2.ViewBuild) -> int:
    return sum(place.sequence for place in build.progress)


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


def _way(walked: Walked, by: Steps) -> None:
    """Prints one line for each step of the way, each naming the file that did it."""
    replayed, seen, end, views = walked
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
            f"command_svc/append.py, eventspine/storage/{by.append}",
            f"{end:,} events stored{by.commits}",
        ),
        (
            "publish",
            "command_svc/publish.py",
            f"{replayed.stored:,} new events handed to whoever follows, once they were stored",
        ),
        (
            "sequence",
            by.sequence,
            f"{end:,} entries of the log, without a gap",
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
