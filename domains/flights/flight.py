"""Decides commands to one flight; promise: each thing happens once and in the order of a flight.

The same report twice changes nothing; a report that contradicts an earlier one is refused.
"""

import re
from collections.abc import Sequence
from datetime import date

from google.protobuf.message import Message

from eventspine.domain.aggregate import Aggregate
from eventspine.domain.errors import RefusalError
from eventspine.domain.refusal import refuse
from flights.v1 import flight_pb2 as pb

DELAY_MINUTES_MIN = -1_440
DELAY_MINUTES_MAX = 14_400
TAIL_NUMBER_CHARACTERS_MAX = 20
FLIGHT_NUMBER_MAX = 9_999
# 3000-01-01 UTC.
SCHEDULED_SECONDS_END = 32_503_680_000

Events = Sequence[Message]
NOTHING: Events = ()

_CARRIER = re.compile(r"[A-Z0-9]{2}")
_AIRPORT = re.compile(r"[A-Z0-9]{3}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")

# Module constants, because reading an enum value through its module each time costs more.
_UNKNOWN = pb.FLIGHT_STATUS_UNSPECIFIED
_SCHEDULED = pb.FLIGHT_STATUS_SCHEDULED
_DEPARTED = pb.FLIGHT_STATUS_DEPARTED
_ARRIVED = pb.FLIGHT_STATUS_ARRIVED
_CANCELLED = pb.FLIGHT_STATUS_CANCELLED
_DIVERTED = pb.FLIGHT_STATUS_DIVERTED


def _refuse(value: int, text: str, /, **metadata: str) -> RefusalError:
    return refuse(pb.FlightRefusal, value, text, **metadata)


def _invalid(field: str, cure: str) -> RefusalError:
    text = f"{field} is missing or malformed; send {cure}"
    return _refuse(pb.FLIGHT_REFUSAL_SCHEDULE_INVALID, text, field=field)


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _check_leg(leg: pb.Leg) -> None:
    if not _CARRIER.fullmatch(leg.carrier):
        raise _invalid("leg.carrier", "2 upper-case letters or digits")
    if not 1 <= leg.flight_number <= FLIGHT_NUMBER_MAX:
        raise _invalid("leg.flight_number", f"1 to {FLIGHT_NUMBER_MAX}")
    if not _AIRPORT.fullmatch(leg.origin):
        raise _invalid("leg.origin", "3 upper-case letters or digits")
    if not _AIRPORT.fullmatch(leg.destination) or leg.destination == leg.origin:
        raise _invalid("leg.destination", "3 upper-case letters or digits, not the origin's")
    if not _is_date(leg.date):
        raise _invalid("leg.date", "a day as YYYY-MM-DD")
    if not _CLOCK.fullmatch(leg.departure_clock):
        raise _invalid("leg.departure_clock", "a time as HH:MM, 00:00 to 23:59")


def _check_schedule(command: pb.ScheduleFlightRequest) -> None:
    _check_leg(command.leg)
    time = command.scheduled_departure_time
    if not 0 < time.seconds < SCHEDULED_SECONDS_END or time.seconds % 60 or time.nanos:
        raise _invalid("scheduled_departure_time", "a whole minute of the years 1970 to 2999")


def _check_delay(field: str, minutes: int) -> None:
    if not DELAY_MINUTES_MIN <= minutes <= DELAY_MINUTES_MAX:
        raise _refuse(
            pb.FLIGHT_REFUSAL_DELAY_INVALID,
            f"{field} is {minutes}; send {DELAY_MINUTES_MIN} to {DELAY_MINUTES_MAX}",
            field=field,
        )


def _not_scheduled(flight_id: str) -> RefusalError:
    return _refuse(
        pb.FLIGHT_REFUSAL_NOT_SCHEDULED,
        f"flight {flight_id} was never scheduled; schedule it first",
        flight_id=flight_id,
    )


def _not_departed(flight_id: str) -> RefusalError:
    return _refuse(
        pb.FLIGHT_REFUSAL_NOT_DEPARTED,
        f"flight {flight_id} has not departed; report its departure first",
        flight_id=flight_id,
    )


def _already_departed(state: pb.FlightState, flight_id: str) -> RefusalError:
    return _refuse(
        pb.FLIGHT_REFUSAL_ALREADY_DEPARTED,
        f"flight {flight_id} departed {state.departure_delay_minutes} minutes late with "
        f"{state.tail_number or 'an unknown aircraft'}; report its arrival or diversion next",
        flight_id=flight_id,
        departure_delay_minutes=str(state.departure_delay_minutes),
    )


def _ended(state: pb.FlightState, flight_id: str) -> RefusalError:
    status = pb.FlightStatus.Name(state.status)
    return _refuse(
        pb.FLIGHT_REFUSAL_ENDED,
        f"flight {flight_id} has ended as {status}, otherwise than reported now; read its stream",
        flight_id=flight_id,
        status=status,
    )


def _check_in_the_air(state: pb.FlightState, flight_id: str) -> None:
    """Only a flight that departed and has not ended can arrive or be diverted."""
    if state.status == _DEPARTED:
        return
    if state.status == _UNKNOWN:
        raise _not_scheduled(flight_id)
    if state.status == _SCHEDULED:
        raise _not_departed(flight_id)
    raise _ended(state, flight_id)


def decide_schedule(state: pb.FlightState, command: pb.ScheduleFlightRequest) -> Events:
    """Puts a new flight on the timetable."""
    _check_schedule(command)
    leg, time = command.leg, command.scheduled_departure_time
    if state.status == _UNKNOWN:
        return (
            pb.FlightScheduled(flight_id=command.flight_id, leg=leg, scheduled_departure_time=time),
        )
    if state.leg == leg and state.scheduled_departure_time == time:
        return NOTHING
    raise _refuse(
        pb.FLIGHT_REFUSAL_ALREADY_SCHEDULED,
        f"flight {command.flight_id} was scheduled otherwise before; choose another flight_id",
        flight_id=command.flight_id,
    )


def decide_depart(state: pb.FlightState, command: pb.DepartFlightRequest) -> Events:
    """Lets a scheduled flight leave its gate."""
    delay, tail_number = command.departure_delay_minutes, command.tail_number
    _check_delay("departure_delay_minutes", delay)
    if len(tail_number) > TAIL_NUMBER_CHARACTERS_MAX:
        raise _refuse(
            pb.FLIGHT_REFUSAL_TAIL_NUMBER_INVALID,
            f"tail_number is too long; send up to {TAIL_NUMBER_CHARACTERS_MAX} characters",
            field="tail_number",
        )
    if state.status == _SCHEDULED:
        return (
            pb.FlightDeparted(
                flight_id=command.flight_id,
                leg=state.leg,
                departure_delay_minutes=delay,
                tail_number=tail_number,
            ),
        )
    if state.status == _UNKNOWN:
        raise _not_scheduled(command.flight_id)
    if state.status == _CANCELLED:
        raise _ended(state, command.flight_id)
    if (state.departure_delay_minutes, state.tail_number) == (delay, tail_number):
        return NOTHING
    raise _already_departed(state, command.flight_id)


def decide_arrive(state: pb.FlightState, command: pb.ArriveFlightRequest) -> Events:
    """Lets a flight come to its destination."""
    delay = command.arrival_delay_minutes
    _check_delay("arrival_delay_minutes", delay)
    if state.status == _ARRIVED and state.arrival_delay_minutes == delay:
        return NOTHING
    _check_in_the_air(state, command.flight_id)
    return (
        pb.FlightArrived(flight_id=command.flight_id, leg=state.leg, arrival_delay_minutes=delay),
    )


def decide_cancel(state: pb.FlightState, command: pb.CancelFlightRequest) -> Events:
    """Takes a flight that has not departed off the timetable."""
    if state.status == _SCHEDULED:
        return (pb.FlightCancelled(flight_id=command.flight_id, leg=state.leg),)
    if state.status == _CANCELLED:
        return NOTHING
    if state.status == _UNKNOWN:
        raise _not_scheduled(command.flight_id)
    if state.status == _DEPARTED:
        raise _already_departed(state, command.flight_id)
    raise _ended(state, command.flight_id)


def decide_divert(state: pb.FlightState, command: pb.DivertFlightRequest) -> Events:
    """Ends a flight elsewhere than at its destination."""
    reached = command.destination_reached
    if state.status == _DIVERTED and state.destination_reached == reached:
        return NOTHING
    _check_in_the_air(state, command.flight_id)
    return (
        pb.FlightDiverted(flight_id=command.flight_id, leg=state.leg, destination_reached=reached),
    )


def evolve_scheduled(state: pb.FlightState, event: pb.FlightScheduled) -> pb.FlightState:
    """The flight is on the timetable."""
    state.status = _SCHEDULED
    state.leg.CopyFrom(event.leg)
    state.scheduled_departure_time.CopyFrom(event.scheduled_departure_time)
    return state


def evolve_departed(state: pb.FlightState, event: pb.FlightDeparted) -> pb.FlightState:
    """The flight has left its gate."""
    state.status = _DEPARTED
    state.departure_delay_minutes = event.departure_delay_minutes
    state.tail_number = event.tail_number
    return state


def evolve_arrived(state: pb.FlightState, event: pb.FlightArrived) -> pb.FlightState:
    """The flight has ended at its destination."""
    state.status = _ARRIVED
    state.arrival_delay_minutes = event.arrival_delay_minutes
    return state


def evolve_cancelled(state: pb.FlightState, event: pb.FlightCancelled) -> pb.FlightState:
    """The flight has ended before it began."""
    state.status = _CANCELLED
    return state


def evolve_diverted(state: pb.FlightState, event: pb.FlightDiverted) -> pb.FlightState:
    """The flight has ended elsewhere."""
    state.status = _DIVERTED
    state.destination_reached = event.destination_reached
    return state


FLIGHT = Aggregate(
    category="flight",
    state=pb.FlightState,
    deciders={
        pb.ScheduleFlightRequest: decide_schedule,
        pb.DepartFlightRequest: decide_depart,
        pb.ArriveFlightRequest: decide_arrive,
        pb.CancelFlightRequest: decide_cancel,
        pb.DivertFlightRequest: decide_divert,
    },
    evolvers={
        pb.FlightScheduled: evolve_scheduled,
        pb.FlightDeparted: evolve_departed,
        pb.FlightArrived: evolve_arrived,
        pb.FlightCancelled: evolve_cancelled,
        pb.FlightDiverted: evolve_diverted,
    },
    refusals=pb.FlightRefusal.DESCRIPTOR,
)
