"""Figures without a goal: the replay of `make run`, and the start-up of `eventspine dev`."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import uvloop

from bench.children import Child
from bench.report import Figure, Found
from devstack.flights_data import flights_file
from devstack.flights_totals import flight_totals
from devstack.replay import Replayed, replay_flights

DAYS = 2
STARTS = 3


def replay(folder: Path) -> list[Found]:
    """Replays two days of flights over gRPC, as `make run` does."""
    totals = flight_totals(DAYS, flights_file())
    with (
        Child("platform", folder / "flights.db") as platform,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        replayed: Replayed = runner.run(
            replay_flights(platform.address, DAYS, on_progress=lambda done: None)
        )
    setting = f"{DAYS} days, {replayed.failed} failed, processor following 7 views"
    return [
        Figure("replay", replayed.commands / replayed.seconds, "commands/s", setting),
        Figure("replay", totals.flights / replayed.seconds, "flights/s", setting),
    ]


def start_up(folder: Path) -> list[Found]:
    """Starts `eventspine dev` and takes the time until it says that it is ready."""
    program = shutil.which("eventspine", path=str(Path(sys.executable).parent))
    if program is None:
        return []
    seconds = sorted(_started(program, folder / f"dev-{number}.db") for number in range(STARTS))
    return [Figure("eventspine dev --db", seconds[STARTS // 2], "s to be ready", "new file")]


def _started(program: str, db: Path) -> float:
    began = time.perf_counter()
    process = subprocess.Popen(
        [program, "dev", "--address", "127.0.0.1:0", "--db", str(db)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            if line.startswith("ready"):
                break
        seconds = time.perf_counter() - began
        process.send_signal(signal.SIGINT)
        process.wait(20)
    return seconds
