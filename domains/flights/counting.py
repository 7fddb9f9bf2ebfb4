"""Counts flights into a row; promise: the airports' days and the carriers' months count alike."""

from typing import TypeVar

from eventspine.domain.view import ViewEvent
from flights.v1.views_pb2 import AirportDay, CarrierMonth

Row = TypeVar("Row", AirportDay, CarrierMonth)


def apply_departed(row: Row, event: ViewEvent) -> Row:
    """One departure more, with its delay."""
    departures = row.departures + 1
    delay_sum = row.departure_delay_sum_minutes + event.data.departure_delay_minutes
    row.departures = departures
    row.departure_delay_sum_minutes = delay_sum
    row.departure_delay_mean_minutes = delay_sum / departures
    return row


def apply_cancelled(row: Row, event: ViewEvent) -> Row:
    """One cancellation more."""
    row.cancellations += 1
    return row


def apply_diverted(row: Row, event: ViewEvent) -> Row:
    """One diversion more; its departure was counted when it left."""
    row.diversions += 1
    return row
