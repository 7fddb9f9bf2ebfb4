"""Shows each flight as it stands; promise: one row a flight, fed by its own stream only."""

from eventspine.domain.view import Folding, Key, View, ViewEvent
from flights.v1 import flight_pb2 as pb
from flights.v1.views_pb2 import Flight

_SCHEDULED = pb.FLIGHT_STATUS_SCHEDULED
_DEPARTED = pb.FLIGHT_STATUS_DEPARTED
_ARRIVED = pb.FLIGHT_STATUS_ARRIVED
_CANCELLED = pb.FLIGHT_STATUS_CANCELLED
_DIVERTED = pb.FLIGHT_STATUS_DIVERTED


def _keys(event: ViewEvent) -> tuple[Key, ...]:
    return ((event.data.flight_id,),)


def apply_scheduled(row: Flight, event: ViewEvent) -> Flight:
    """The row begins with what the timetable says."""
    row.leg.CopyFrom(event.data.leg)
    row.status = _SCHEDULED
    row.scheduled_departure_time.seconds = event.data.scheduled_departure_time.seconds
    return row


def apply_departed(row: Flight, event: ViewEvent) -> Flight:
    """The time of departure follows from the timetable and the delay."""
    delay_minutes = event.data.departure_delay_minutes
    row.status = _DEPARTED
    row.departure_delay_minutes = delay_minutes
    row.departure_time.seconds = row.scheduled_departure_time.seconds + 60 * delay_minutes
    row.tail_number = event.data.tail_number
    return row


def apply_arrived(row: Flight, event: ViewEvent) -> Flight:
    """The flight is at its destination."""
    row.status = _ARRIVED
    row.arrival_delay_minutes = event.data.arrival_delay_minutes
    return row


def apply_cancelled(row: Flight, event: ViewEvent) -> Flight:
    """The row stays, marked."""
    row.status = _CANCELLED
    return row


def apply_diverted(row: Flight, event: ViewEvent) -> Flight:
    """The flight is elsewhere, or came to its destination in the end."""
    row.status = _DIVERTED
    row.destination_reached = event.data.destination_reached
    return row


FLIGHTS_VIEW = View(
    row=Flight,
    foldings={
        pb.FlightScheduled: Folding(_keys, apply_scheduled),
        pb.FlightDeparted: Folding(_keys, apply_departed),
        pb.FlightArrived: Folding(_keys, apply_arrived),
        pb.FlightCancelled: Folding(_keys, apply_cancelled),
        pb.FlightDiverted: Folding(_keys, apply_diverted),
    },
)
