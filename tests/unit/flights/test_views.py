"""The flights' views: what they show, their laws, and that they agree with the file."""

from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from devstack.flights_totals import (
    airport_day_differences,
    carrier_month_differences,
    flight_totals,
)
from domains.flights.airport_days import AIRPORT_DAYS
from domains.flights.board import BOARD
from domains.flights.carrier_months import CARRIER_MONTHS
from domains.flights.domain import FLIGHTS
from domains.flights.flights_view import FLIGHTS_VIEW
from eventspine.domain.declare import declare
from eventspine.domain.given import check_view, given, happened
from eventspine.domain.view import View, ViewEvent
from flights.v1 import flight_pb2 as pb
from flights.v1.views_pb2 import AirportDay, BoardEntry, CarrierMonth, Flight


def leg(number: int) -> pb.Leg:
    return pb.Leg(
        carrier="UA",
        flight_number=number,
        origin="EWR",
        destination="IAH",
        date="2013-01-01",
        departure_clock="05:15",
    )


def scheduled(number: int) -> pb.FlightScheduled:
    return pb.FlightScheduled(
        flight_id=f"f{number}", leg=leg(number), scheduled_departure_time=Timestamp(seconds=6_000)
    )


def departed(number: int, delay: int) -> pb.FlightDeparted:
    return pb.FlightDeparted(
        flight_id=f"f{number}", leg=leg(number), departure_delay_minutes=delay, tail_number="N1"
    )


ARRIVED = happened(
    "flight/f1",
    scheduled(1),
    departed(1, -5),
    pb.FlightArrived(flight_id="f1", leg=leg(1), arrival_delay_minutes=7),
)
DIVERTED = happened(
    "flight/f2",
    scheduled(2),
    departed(2, 10),
    pb.FlightDiverted(flight_id="f2", leg=leg(2), destination_reached=True),
)
CANCELLED = happened("flight/f3", scheduled(3), pb.FlightCancelled(flight_id="f3", leg=leg(3)))
EVENTS = [*ARRIVED, *DIVERTED, *CANCELLED]


@pytest.mark.parametrize(
    "view", [FLIGHTS_VIEW, AIRPORT_DAYS, CARRIER_MONTHS, BOARD], ids=lambda view: view.name
)
def test_the_laws_of_views_hold(view: View[Message], sample_events: list[ViewEvent]) -> None:
    check_view(view, EVENTS)
    check_view(view, sample_events, rounds=2)


def test_the_domain_is_declared_rightly() -> None:
    assert len(declare([FLIGHTS]).views) == 4


def test_a_flight_shows_where_it_stands() -> None:
    time = Timestamp(seconds=6_000)
    given(FLIGHTS_VIEW, *EVENTS).shows(
        Flight(
            flight_id="f1",
            leg=leg(1),
            status=pb.FLIGHT_STATUS_ARRIVED,
            scheduled_departure_time=time,
            departure_time=Timestamp(seconds=5_700),
            departure_delay_minutes=-5,
            arrival_delay_minutes=7,
            tail_number="N1",
        ),
        Flight(
            flight_id="f2",
            leg=leg(2),
            status=pb.FLIGHT_STATUS_DIVERTED,
            scheduled_departure_time=time,
            departure_time=Timestamp(seconds=6_600),
            departure_delay_minutes=10,
            tail_number="N1",
            destination_reached=True,
        ),
        Flight(
            flight_id="f3",
            leg=leg(3),
            status=pb.FLIGHT_STATUS_CANCELLED,
            scheduled_departure_time=time,
        ),
    )


def test_an_airport_counts_what_left_it() -> None:
    given(AIRPORT_DAYS, *EVENTS).shows(
        AirportDay(
            origin="EWR",
            date="2013-01-01",
            departures=2,
            cancellations=1,
            diversions=1,
            departure_delay_sum_minutes=5,
            departure_delay_mean_minutes=2.5,
        )
    )


def test_a_carrier_counts_arrivals_too() -> None:
    given(CARRIER_MONTHS, *EVENTS).shows(
        CarrierMonth(
            carrier="UA",
            month="2013-01",
            departures=2,
            arrivals=1,
            cancellations=1,
            diversions=1,
            departure_delay_sum_minutes=5,
            departure_delay_mean_minutes=2.5,
            arrival_delay_sum_minutes=7,
            arrival_delay_mean_minutes=7.0,
        )
    )


def test_a_board_shows_a_flight_from_schedule_to_end() -> None:
    line = BoardEntry(
        origin="EWR",
        date="2013-01-01",
        departure_clock="05:15",
        flight_id="f1",
        carrier="UA",
        flight_number=1,
        destination="IAH",
        status=pb.FLIGHT_STATUS_SCHEDULED,
    )
    given(BOARD, *ARRIVED[:1]).shows(line)
    line.status = pb.FLIGHT_STATUS_DEPARTED
    line.departure_delay_minutes = -5
    given(BOARD, *ARRIVED[:2]).shows(line)
    given(BOARD, *EVENTS).shows()


def test_views_of_the_sample_equal_totals_counted_from_the_file(
    sample_events: list[ViewEvent], sample_file: Path
) -> None:
    totals = flight_totals(365, sample_file)
    assert totals.flights == 38
    airports = check_view(AIRPORT_DAYS, sample_events, rounds=1).values()
    carriers = check_view(CARRIER_MONTHS, sample_events, rounds=1).values()
    assert airport_day_differences(totals, airports) == []
    assert carrier_month_differences(totals, carriers) == []


def test_a_difference_is_told_by_row_and_field(
    sample_events: list[ViewEvent], sample_file: Path
) -> None:
    totals = flight_totals(365, sample_file)
    rows = list(check_view(AIRPORT_DAYS, sample_events, rounds=1).values())
    wrong, missing, *others = rows
    wrong.departures += 1
    found = airport_day_differences(totals, [wrong, *others, others[0], AirportDay(origin="XXX")])
    assert any(f"{wrong.origin} {wrong.date}: departures is" in text for text in found)
    assert f"{missing.origin} {missing.date}: the view has 0 rows, expected one" in found
    assert f"{others[0].origin} {others[0].date}: the view has 2 rows, expected one" in found
    assert any(text.startswith("XXX") for text in found)
    assert len(found) == 4
