"""Counts an airport's departures by day; promise: sums only, the order across flights is no matter.

Many flights feed one row, so each partition of the log keeps a partial row of its own and `merge`
adds them up. The mean is computed from the sum and the count each time, never from an older mean.
"""

from collections.abc import Sequence

from domains.flights.counting import apply_cancelled, apply_departed, apply_diverted
from eventspine.domain.view import Folding, Key, View, ViewEvent
from flights.v1 import flight_pb2 as pb
from flights.v1.views_pb2 import AirportDay


def _keys(event: ViewEvent) -> tuple[Key, ...]:
    leg = event.data.leg
    return ((leg.origin, leg.date),)


def merge(rows: Sequence[AirportDay]) -> AirportDay:
    """Adds up partial rows."""
    departures = sum(row.departures for row in rows)
    delay_sum = sum(row.departure_delay_sum_minutes for row in rows)
    return AirportDay(
        origin=rows[0].origin,
        date=rows[0].date,
        departures=departures,
        cancellations=sum(row.cancellations for row in rows),
        diversions=sum(row.diversions for row in rows),
        departure_delay_sum_minutes=delay_sum,
        departure_delay_mean_minutes=delay_sum / departures if departures else 0.0,
    )


AIRPORT_DAYS = View(
    row=AirportDay,
    # What an airport scheduled is no count here, and where a flight arrives is another airport.
    foldings={
        pb.FlightDeparted: Folding(_keys, apply_departed),
        pb.FlightCancelled: Folding(_keys, apply_cancelled),
        pb.FlightDiverted: Folding(_keys, apply_diverted),
    },
    merge=merge,
)
