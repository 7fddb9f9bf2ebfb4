"""Declares the flights domain: flights, totals by airport and carrier, and live boards."""

from domains.flights.airport_days import AIRPORT_DAYS
from domains.flights.board import BOARD
from domains.flights.carrier_months import CARRIER_MONTHS
from domains.flights.flight import FLIGHT
from domains.flights.flights_view import FLIGHTS_VIEW
from eventspine.domain.domain import Domain
from flights.v1 import flight_pb2, views_pb2

FLIGHTS = Domain(
    name="flights",
    protos=(flight_pb2, views_pb2),
    aggregates=(FLIGHT,),
    views=(FLIGHTS_VIEW, AIRPORT_DAYS, CARRIER_MONTHS, BOARD),
)
