"""A day of flights by typed commands: the board, the flight, and totals by airport and carrier."""

import asyncio
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from eventspine.v1.query_pb2 import QueryHeader
from flights.v1 import flight_pb2 as pb
from flights.v1 import views_pb2
from tests.journey.user import User, collected, header, refusal, showing, told

DAY = "2013-01-01"


def scheduling(
    flight: str, clock: str, *, carrier: str = "UA", origin: str = "JFK"
) -> pb.ScheduleFlightRequest:
    hours, minutes = clock.split(":")
    departure = Timestamp(seconds=1_356_998_400 + int(hours) * 3_600 + int(minutes) * 60)
    return pb.ScheduleFlightRequest(
        header=header(),
        flight_id=flight,
        leg=pb.Leg(
            carrier=carrier,
            flight_number=int(flight.removeprefix("f")),
            origin=origin,
            destination="BOS",
            date=DAY,
            departure_clock=clock,
        ),
        scheduled_departure_time=departure,
    )


def departing(flight: str, delay: int) -> pb.DepartFlightRequest:
    return pb.DepartFlightRequest(
        header=header(), flight_id=flight, departure_delay_minutes=delay, tail_number="N1"
    )


def arriving(flight: str, delay: int) -> pb.ArriveFlightRequest:
    return pb.ArriveFlightRequest(header=header(), flight_id=flight, arrival_delay_minutes=delay)


def cancelling(flight: str) -> pb.CancelFlightRequest:
    return pb.CancelFlightRequest(header=header(), flight_id=flight)


def diverting(flight: str) -> pb.DivertFlightRequest:
    return pb.DivertFlightRequest(header=header(), flight_id=flight)


async def flown(user: User) -> QueryHeader:
    """Flies a small day, in bulk; returns the header of queries that demand to see all of it."""
    day: list[Message] = [
        scheduling("f1", "09:00"),
        scheduling("f2", "08:00"),
        scheduling("f3", "10:00", carrier="AA"),
        scheduling("f4", "07:30", carrier="AA"),
        scheduling("f5", "23:59"),
        scheduling("f6", "06:00", origin="LGA"),
        departing("f1", 12),
        departing("f3", -4),
        departing("f4", 40),
        departing("f6", 0),
        arriving("f1", 2),
        cancelling("f2"),
        diverting("f4"),
    ]
    verdicts = await user.execute(day)
    assert all(verdict.HasField("result") for verdict in verdicts)
    return QueryHeader(**showing("~".join(verdict.result.token for verdict in verdicts)))


async def board(user: User, origin: str, head: QueryHeader) -> list[tuple[str, str]]:
    request = views_pb2.ListBoardEntriesRequest(header=head, origin=origin)
    batches = await collected(user.boards.ListBoardEntries(request))
    return [(row.departure_clock, row.flight_id) for batch in batches for row in batch.rows]


async def test_a_board_lists_what_has_not_ended_by_time_of_departure(user: User) -> None:
    head = await flown(user)
    assert await board(user, "JFK", head) == [("10:00", "f3"), ("23:59", "f5")]
    assert await board(user, "LGA", head) == [("06:00", "f6")]
    assert await board(user, "EWR", head) == []


async def test_totals_count_each_flight_where_it_belongs(user: User) -> None:
    head = await flown(user)
    request = views_pb2.GetAirportDayRequest(header=head, origin="JFK", date=DAY)
    day = (await user.boards.GetAirportDay(request)).row
    assert (day.departures, day.cancellations, day.diversions) == (3, 1, 1)
    assert day.departure_delay_sum_minutes == 48
    assert day.departure_delay_mean_minutes == pytest.approx(16)
    batches = await collected(
        user.boards.ListCarrierMonths(views_pb2.ListCarrierMonthsRequest(header=head))
    )
    months = [
        (row.carrier, row.month, row.departures, row.arrivals, row.arrival_delay_sum_minutes)
        for batch in batches
        for row in batch.rows
    ]
    assert months == [("AA", "2013-01", 2, 0, 0), ("UA", "2013-01", 2, 1, 2)]
    days = await collected(
        user.boards.ListAirportDays(views_pb2.ListAirportDaysRequest(header=head, origin="LGA"))
    )
    assert [(row.date, row.departures) for batch in days for row in batch.rows] == [(DAY, 1)]


async def test_a_flight_shows_what_became_of_it(user: User) -> None:
    head = await flown(user)
    request = views_pb2.GetFlightRequest(header=head, flight_id="f1")
    row = (await user.boards.GetFlight(request)).row
    assert row.status == pb.FLIGHT_STATUS_ARRIVED
    assert (row.departure_delay_minutes, row.arrival_delay_minutes) == (12, 2)
    assert row.departure_time.seconds - row.scheduled_departure_time.seconds == 12 * 60
    batches = await collected(user.boards.ListFlights(views_pb2.ListFlightsRequest(header=head)))
    statuses = {row.flight_id: row.status for batch in batches for row in batch.rows}
    assert list(statuses) == ["f1", "f2", "f3", "f4", "f5", "f6"]
    assert statuses["f4"] == pb.FLIGHT_STATUS_DIVERTED


async def test_a_line_of_a_live_board_appears_changes_and_goes(user: User) -> None:
    request = views_pb2.WatchBoardEntryRequest(
        origin="JFK", date=DAY, departure_clock="09:00", flight_id="f1"
    )
    watch = user.boards.WatchBoardEntry(request)
    seen: list[Any] = []

    async def look() -> None:
        async with asyncio.timeout(10):
            change = await watch.read()
        assert change.absent != change.HasField("row")
        seen.append(None if change.absent else (change.row.status, delay(change.row)))

    await look()
    await user.flights.ScheduleFlight(scheduling("f1", "09:00"))
    await look()
    await user.flights.DepartFlight(departing("f1", 12))
    await look()
    await user.flights.ArriveFlight(arriving("f1", 2))
    await look()
    assert seen == [
        None,
        (pb.FLIGHT_STATUS_SCHEDULED, None),
        (pb.FLIGHT_STATUS_DEPARTED, 12),
        None,
    ]
    watch.cancel()


def delay(row: views_pb2.BoardEntry) -> int | None:
    return row.departure_delay_minutes if row.HasField("departure_delay_minutes") else None


async def test_totals_of_a_day_are_watched_as_flights_leave(user: User) -> None:
    await flown(user)
    watch = user.boards.WatchAirportDay(views_pb2.WatchAirportDayRequest(origin="JFK", date=DAY))
    async with asyncio.timeout(10):
        # The flights are in several partitions of the log, so the row may be seen on its way.
        row = views_pb2.AirportDay()
        while (row.departures, row.cancellations, row.diversions) != (3, 1, 1):
            row = (await watch.read()).row
        await user.flights.DepartFlight(departing("f5", 7))
        assert (await watch.read()).row.departure_delay_sum_minutes == 55
    watch.cancel()


async def test_a_report_that_contradicts_an_earlier_one_is_refused(user: User) -> None:
    await flown(user)
    assert (await user.flights.DepartFlight(departing("f1", 12))).result.event_count == 0
    error = await refusal(user.flights.DepartFlight(departing("f2", 1)))
    assert told(error) == "FAILED_PRECONDITION FLIGHT_REFUSAL_ENDED"
    error = await refusal(user.flights.ArriveFlight(arriving("f5", 1)))
    assert told(error) == "FAILED_PRECONDITION FLIGHT_REFUSAL_NOT_DEPARTED"
    error = await refusal(user.flights.CancelFlight(cancelling("f9")))
    assert told(error) == "NOT_FOUND FLIGHT_REFUSAL_NOT_SCHEDULED"
    assert error.domain == "flights.v1"
