"""Counts a carrier's flights by month; promise: sums only, the order across flights is no matter.

Many flights feed one row, so each partition of the log keeps a partial row of its own and `merge`
adds them up. Means are computed from sum and count each time, never from an older mean.
"""

from collections.abc import Sequence

from domains.flights.counting import apply_cancelled, apply_departed, apply_diverted
from eventspine.domain.view import Folding, Key, View, ViewEvent
from flights.v1 import flight_pb2 as pb
from flights.v1.views_pb2 import CarrierMonth

_MONTH = slice(0, 7)
"""The month of a day `YYYY-MM-DD`."""


def _keys(event: ViewEvent) -> tuple[Key, ...]:
    leg = event.data.leg
    return ((leg.carrier, leg.date[_MONTH]),)


def apply_arrived(row: CarrierMonth, event: ViewEvent) -> CarrierMonth:
    """One arrival more, with its delay."""
    arrivals = row.arrivals + 1
    delay_sum = row.arrival_delay_sum_minutes + event.data.arrival_delay_minutes
    row.arrivals = arrivals
    row.arrival_delay_sum_minutes = delay_sum
    row.arrival_delay_mean_minutes = delay_sum / arrivals
    return row


def merge(rows: Sequence[CarrierMonth]) -> CarrierMonth:
    """Adds up partial rows."""
    departures = sum(row.departures for row in rows)
    arrivals = sum(row.arrivals for row in rows)
    departure_delay_sum = sum(row.departure_delay_sum_minutes for row in rows)
    arrival_delay_sum = sum(row.arrival_delay_sum_minutes for row in rows)
    return CarrierMonth(
        carrier=rows[0].carrier,
        month=rows[0].month,
        departures=departures,
        arrivals=arrivals,
        cancellations=sum(row.cancellations for row in rows),
        diversions=sum(row.diversions for row in rows),
        departure_delay_sum_minutes=departure_delay_sum,
        departure_delay_mean_minutes=departure_delay_sum / departures if departures else 0.0,
        arrival_delay_sum_minutes=arrival_delay_sum,
        arrival_delay_mean_minutes=arrival_delay_sum / arrivals if arrivals else 0.0,
    )


CARRIER_MONTHS = View(
    row=CarrierMonth,
    # What a carrier scheduled is no count here.
    foldings={
        pb.FlightDeparted: Folding(_keys, apply_departed),
        pb.FlightArrived: Folding(_keys, apply_arrived),
        pb.FlightCancelled: Folding(_keys, apply_cancelled),
        pb.FlightDiverted: Folding(_keys, apply_diverted),
    },
    merge=merge,
)
