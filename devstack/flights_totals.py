"""Counts the real flights straight from the data file; promise: independent of the platform.

Nothing here knows of commands, events or views: what the views of a replay show is compared with
these numbers. The flights of a day are those scheduled to leave on it, local to New York. A flight
without a departure time was cancelled; one with an arrival delay arrived; one that departed and has
none was diverted.
"""

import csv
import io
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

FIRST_DAY = date(2013, 1, 1)


@dataclass(slots=True)
class Totals:
    """What happened to some flights: counts, and sums of delays in minutes."""

    departures: int = 0
    arrivals: int = 0
    cancellations: int = 0
    diversions: int = 0
    departure_delay_sum: int = 0
    arrival_delay_sum: int = 0

    @property
    def departure_delay_mean(self) -> float:
        """The mean delay of the departures in minutes; 0 without one."""
        return self.departure_delay_sum / self.departures if self.departures else 0.0

    @property
    def arrival_delay_mean(self) -> float:
        """The mean delay of the arrivals in minutes; 0 without one."""
        return self.arrival_delay_sum / self.arrivals if self.arrivals else 0.0

    def count(self, row: dict[str, str]) -> None:
        """Counts one row of the file."""
        if row["dep_time"] == "NA":
            self.cancellations += 1
            return
        self.departures += 1
        self.departure_delay_sum += int(row["dep_delay"])
        if row["arr_delay"] == "NA":
            self.diversions += 1
        else:
            self.arrivals += 1
            self.arrival_delay_sum += int(row["arr_delay"])


@dataclass(slots=True)
class FlightTotals:
    """Totals of all flights of some days.

    Attributes:
        flights: How many flights were scheduled.
        airport_days: By airport of departure and day `YYYY-MM-DD`.
        carrier_months: By carrier and month `YYYY-MM`.
    """

    flights: int = 0
    airport_days: defaultdict[tuple[str, str], Totals] = field(
        default_factory=lambda: defaultdict(Totals)
    )
    carrier_months: defaultdict[tuple[str, str], Totals] = field(
        default_factory=lambda: defaultdict(Totals)
    )


def flight_totals(days: int, path: Path) -> FlightTotals:
    """Counts the flights of the first days of 2013.

    Args:
        days: How many days, from 1 January. 1 to 365.
        path: The data file, zipped or not.
    """
    totals = FlightTotals()
    for row in _rows(path):
        day = date(int(row["year"]), int(row["month"]), int(row["day"]))
        if (day - FIRST_DAY).days >= days:
            continue
        text = day.isoformat()
        totals.flights += 1
        totals.airport_days[row["origin"], text].count(row)
        totals.carrier_months[row["carrier"], text[:7]].count(row)
    return totals


def airport_day_differences(totals: FlightTotals, rows: Iterable[Any]) -> list[str]:
    """Compares rows of the view of airports by day with the totals.

    Returns:
        What differs, a sentence each; empty when every row is there once and equal.
    """
    shown: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for row in rows:
        shown[row.origin, row.date].append(
            {
                "departures": row.departures,
                "cancellations": row.cancellations,
                "diversions": row.diversions,
                "departure_delay_sum": row.departure_delay_sum_minutes,
                "departure_delay_mean": row.departure_delay_mean_minutes,
            }
        )
    return _differences(totals.airport_days, shown)


def carrier_month_differences(totals: FlightTotals, rows: Iterable[Any]) -> list[str]:
    """Compares rows of the view of carriers by month with the totals.

    Returns:
        What differs, a sentence each; empty when every row is there once and equal.
    """
    shown: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for row in rows:
        shown[row.carrier, row.month].append(
            {
                "departures": row.departures,
                "arrivals": row.arrivals,
                "cancellations": row.cancellations,
                "diversions": row.diversions,
                "departure_delay_sum": row.departure_delay_sum_minutes,
                "departure_delay_mean": row.departure_delay_mean_minutes,
                "arrival_delay_sum": row.arrival_delay_sum_minutes,
                "arrival_delay_mean": row.arrival_delay_mean_minutes,
            }
        )
    return _differences(totals.carrier_months, shown)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.suffix != ".zip":
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
        return
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as packed:
        yield from csv.DictReader(io.TextIOWrapper(packed, encoding="utf-8", newline=""))


def _differences(
    expected: dict[tuple[str, str], Totals],
    shown: dict[tuple[str, str], list[dict[str, float]]],
) -> list[str]:
    found: list[str] = []
    for key in sorted(expected.keys() | shown.keys()):
        name = " ".join(key)
        rows = shown.get(key, [])
        if key not in expected:
            found.append(f"{name}: the view has a row and the file has no such flight")
        elif len(rows) != 1:
            found.append(f"{name}: the view has {len(rows)} rows, expected one")
        else:
            totals = expected[key]
            found.extend(
                f"{name}: {field} is {value} in the view and {getattr(totals, field)} in the file"
                for field, value in rows[0].items()
                # Counts and sums are whole numbers, and means divide equal ones: no tolerance.
                if value != getattr(totals, field)
            )
    return found
