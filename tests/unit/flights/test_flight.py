"""The flight's deciders, in sentences."""

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from domains.flights.flight import FLIGHT
from eventspine.domain.given import check_aggregate, given
from flights.v1 import flight_pb2 as pb

ID = "2013-01-01T10-UA-1545"
LEG = pb.Leg(
    carrier="UA",
    flight_number=1545,
    origin="EWR",
    destination="IAH",
    date="2013-01-01",
    departure_clock="05:15",
)
TIME = Timestamp(seconds=1_357_035_300)

SCHEDULED = pb.FlightScheduled(flight_id=ID, leg=LEG, scheduled_departure_time=TIME)
DEPARTED = pb.FlightDeparted(
    flight_id=ID, leg=LEG, departure_delay_minutes=-3, tail_number="N14228"
)
ARRIVED = pb.FlightArrived(flight_id=ID, leg=LEG, arrival_delay_minutes=11)
CANCELLED = pb.FlightCancelled(flight_id=ID, leg=LEG)
DIVERTED = pb.FlightDiverted(flight_id=ID, leg=LEG, destination_reached=True)

SCHEDULE = pb.ScheduleFlightRequest(flight_id=ID, leg=LEG, scheduled_departure_time=TIME)
DEPART = pb.DepartFlightRequest(flight_id=ID, departure_delay_minutes=-3, tail_number="N14228")
ARRIVE = pb.ArriveFlightRequest(flight_id=ID, arrival_delay_minutes=11)
CANCEL = pb.CancelFlightRequest(flight_id=ID)
DIVERT = pb.DivertFlightRequest(flight_id=ID, destination_reached=True)
COMMANDS = [SCHEDULE, DEPART, ARRIVE, CANCEL, DIVERT]


@pytest.mark.parametrize(
    "history",
    [
        [SCHEDULED, DEPARTED, ARRIVED],
        [SCHEDULED, DEPARTED, DIVERTED],
        [SCHEDULED, CANCELLED],
    ],
)
def test_the_laws_of_deciders_hold(history: list[Message]) -> None:
    check_aggregate(FLIGHT, history, COMMANDS)


def test_a_flight_goes_from_schedule_to_arrival() -> None:
    given(FLIGHT).when(SCHEDULE).then(SCHEDULED)
    given(FLIGHT, SCHEDULED).when(DEPART).then(DEPARTED)
    given(FLIGHT, SCHEDULED, DEPARTED).when(ARRIVE).then(ARRIVED)
    given(FLIGHT, SCHEDULED, DEPARTED, ARRIVED).state(
        pb.FlightState(
            status=pb.FLIGHT_STATUS_ARRIVED,
            leg=LEG,
            scheduled_departure_time=TIME,
            departure_delay_minutes=-3,
            arrival_delay_minutes=11,
            tail_number="N14228",
        )
    )


def test_a_flight_is_cancelled_before_it_departs_or_diverted_after() -> None:
    given(FLIGHT, SCHEDULED).when(CANCEL).then(CANCELLED)
    given(FLIGHT, SCHEDULED, DEPARTED).when(DIVERT).then(DIVERTED)
    given(FLIGHT, SCHEDULED, DEPARTED).when(CANCEL).refused(pb.FLIGHT_REFUSAL_ALREADY_DEPARTED)
    given(FLIGHT, SCHEDULED).when(DIVERT).refused(pb.FLIGHT_REFUSAL_NOT_DEPARTED)


@pytest.mark.parametrize(
    ("history", "command"),
    [
        ([SCHEDULED], SCHEDULE),
        ([SCHEDULED, DEPARTED], SCHEDULE),
        ([SCHEDULED, DEPARTED], DEPART),
        ([SCHEDULED, DEPARTED, ARRIVED], DEPART),
        ([SCHEDULED, DEPARTED, ARRIVED], ARRIVE),
        ([SCHEDULED, CANCELLED], CANCEL),
        ([SCHEDULED, DEPARTED, DIVERTED], DIVERT),
    ],
)
def test_the_same_report_again_changes_nothing(history: list[Message], command: Message) -> None:
    given(FLIGHT, *history).when(command).then()


@pytest.mark.parametrize("command", [DEPART, ARRIVE, CANCEL, DIVERT])
def test_a_flight_that_was_never_scheduled_does_nothing(command: Message) -> None:
    given(FLIGHT).when(command).refused(pb.FLIGHT_REFUSAL_NOT_SCHEDULED, "schedule it first")


def test_a_flight_does_not_arrive_before_it_departs() -> None:
    given(FLIGHT, SCHEDULED).when(ARRIVE).refused(pb.FLIGHT_REFUSAL_NOT_DEPARTED)


@pytest.mark.parametrize(
    ("history", "command", "refusal"),
    [
        (
            [SCHEDULED],
            pb.ScheduleFlightRequest(
                flight_id=ID, leg=LEG, scheduled_departure_time=Timestamp(seconds=60)
            ),
            pb.FLIGHT_REFUSAL_ALREADY_SCHEDULED,
        ),
        (
            [SCHEDULED, DEPARTED],
            pb.DepartFlightRequest(flight_id=ID),
            pb.FLIGHT_REFUSAL_ALREADY_DEPARTED,
        ),
        (
            [SCHEDULED, DEPARTED, ARRIVED],
            pb.ArriveFlightRequest(flight_id=ID),
            pb.FLIGHT_REFUSAL_ENDED,
        ),
        (
            [SCHEDULED, DEPARTED, DIVERTED],
            pb.DivertFlightRequest(flight_id=ID),
            pb.FLIGHT_REFUSAL_ENDED,
        ),
        ([SCHEDULED, DEPARTED, ARRIVED], DIVERT, pb.FLIGHT_REFUSAL_ENDED),
        ([SCHEDULED, DEPARTED, ARRIVED], CANCEL, pb.FLIGHT_REFUSAL_ENDED),
        ([SCHEDULED, CANCELLED], DEPART, pb.FLIGHT_REFUSAL_ENDED),
        ([SCHEDULED, CANCELLED], ARRIVE, pb.FLIGHT_REFUSAL_ENDED),
    ],
)
def test_a_report_that_contradicts_an_earlier_one_is_refused(
    history: list[Message], command: Message, refusal: int
) -> None:
    given(FLIGHT, *history).when(command).refused(refusal)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("carrier", ""),
        ("carrier", "ua"),
        ("flight_number", 0),
        ("flight_number", 10_000),
        ("origin", "NEWARK"),
        ("destination", ""),
        ("destination", "EWR"),
        ("date", "2013-02-30"),
        ("date", "2013-W01-1"),
        ("date", "20130101"),
        ("departure_clock", "24:00"),
        ("departure_clock", "5:15"),
        ("departure_clock", "05:15\n"),
    ],
)
def test_a_malformed_leg_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    wrong = pb.ScheduleFlightRequest.FromString(SCHEDULE.SerializeToString())
    setattr(wrong.leg, field, value)
    given(FLIGHT).when(wrong).refused(pb.FLIGHT_REFUSAL_SCHEDULE_INVALID, f"leg.{field}")


@pytest.mark.parametrize(
    "time",
    [
        Timestamp(),
        Timestamp(seconds=61),
        Timestamp(seconds=60, nanos=1),
        Timestamp(seconds=-60),
        Timestamp(seconds=32_503_680_000),
    ],
)
def test_a_flight_departs_at_a_whole_minute_of_our_time(time: Timestamp) -> None:
    command = pb.ScheduleFlightRequest(flight_id=ID, leg=LEG, scheduled_departure_time=time)
    given(FLIGHT).when(command).refused(
        pb.FLIGHT_REFUSAL_SCHEDULE_INVALID, "scheduled_departure_time"
    )


@pytest.mark.parametrize("minutes", [-1_441, 14_401, -(2**31), 2**31 - 1])
def test_a_delay_is_a_day_early_to_ten_days_late(minutes: int) -> None:
    given(FLIGHT, SCHEDULED).when(
        pb.DepartFlightRequest(flight_id=ID, departure_delay_minutes=minutes)
    ).refused(pb.FLIGHT_REFUSAL_DELAY_INVALID, "departure_delay_minutes")
    given(FLIGHT, SCHEDULED, DEPARTED).when(
        pb.ArriveFlightRequest(flight_id=ID, arrival_delay_minutes=minutes)
    ).refused(pb.FLIGHT_REFUSAL_DELAY_INVALID, "arrival_delay_minutes")


def test_a_tail_number_is_short() -> None:
    given(FLIGHT, SCHEDULED).when(
        pb.DepartFlightRequest(flight_id=ID, tail_number="N" * 21)
    ).refused(pb.FLIGHT_REFUSAL_TAIL_NUMBER_INVALID)
