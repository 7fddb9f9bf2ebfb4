"""Replays real flights through a command service over gRPC, in bulk."""

import time
from collections.abc import Callable
from typing import NamedTuple

from devstack.flights_data import count_commands, flight_commands
from devstack.progress_bar import progress_bar
from eventspine.client.client import Client


class Replayed(NamedTuple):
    """What became of the commands.

    Attributes:
        commands: How many were sent.
        stored: How many took effect now.
        replayed: How many had taken effect at an earlier replay.
        failed: How many were refused or failed.
        seconds: How long it took.
        token: Stands for the last events of the replay; hand it to a query.
        problems: The first few failures, for people.
    """

    commands: int
    stored: int
    replayed: int
    failed: int
    seconds: float
    token: str
    problems: tuple[str, ...]


async def replay_flights(
    address: str, days: int, *, on_progress: Callable[[int], None] | None = None
) -> Replayed:
    """Sends the commands of the first days of 2013 and waits for every verdict.

    Args:
        address: A running platform that hosts the flights domain.
        days: How many days, 1 to 365.
        on_progress: Told how many verdicts have come; a bar is shown in its place when None.

    Raises:
        FlightsNotFoundError: The data is not installed. Nothing was sent.
        CallError: The platform refused the stream or went away for good.
    """
    total = count_commands(days)
    stored = replayed = failed = 0
    token = ""
    problems: list[str] = []
    began = time.perf_counter()
    async with Client.connect(address) as client:
        with progress_bar(f"replaying {days} days of flights", total) as bar:
            async for verdict in client.bulk(flight_commands(days)):
                if verdict.HasField("failure"):
                    failed += 1
                    if len(problems) < 5:
                        failure = verdict.failure
                        problems.append(f"{verdict.command_id}: {failure.reason} {failure.message}")
                elif verdict.result.replayed:
                    replayed += 1
                else:
                    stored += 1
                    token = verdict.result.token
                bar.advance(1)
                if on_progress is not None:
                    on_progress(stored + replayed + failed)
    seconds = time.perf_counter() - began
    sent = stored + replayed + failed
    return Replayed(sent, stored, replayed, failed, seconds, token, tuple(problems))
