"""Shows each airport's live board; promise: a line stands from schedule to end, and no longer."""

from eventspine.domain.view import Folding, Key, View, ViewEvent
from flights.v1 import flight_pb2 as pb
from flights.v1.views_pb2 import BoardEntry

_SCHEDULED = pb.FLIGHT_STATUS_SCHEDULED
_DEPARTED = pb.FLIGHT_STATUS_DEPARTED


def _keys(event: ViewEvent) -> tuple[Key, ...]:
    leg = event.data.leg
    return ((leg.origin, leg.date, leg.departure_clock, event.data.flight_id),)


def apply_scheduled(row: BoardEntry, event: ViewEvent) -> BoardEntry:
    """The line appears."""
    leg = event.data.leg
    row.carrier = leg.carrier
    row.flight_number = leg.flight_number
    row.destination = leg.destination
    row.status = _SCHEDULED
    return row


def apply_departed(row: BoardEntry, event: ViewEvent) -> BoardEntry:
    """The line shows how late the flight left."""
    row.status = _DEPARTED
    row.departure_delay_minutes = event.data.departure_delay_minutes
    return row


def apply_ended(row: BoardEntry, event: ViewEvent) -> None:
    """The line goes."""


BOARD = View(
    row=BoardEntry,
    foldings={
        pb.FlightScheduled: Folding(_keys, apply_scheduled),
        pb.FlightDeparted: Folding(_keys, apply_departed),
        pb.FlightArrived: Folding(_keys, apply_ended),
        pb.FlightCancelled: Folding(_keys, apply_ended),
        pb.FlightDiverted: Folding(_keys, apply_ended),
    },
)
