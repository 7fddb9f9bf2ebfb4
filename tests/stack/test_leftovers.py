"""What a launcher left behind is stopped, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devstack.stack.born import born
from devstack.stack.leftovers import CHILDREN, Recorded, record, recorded, stop_leftovers
from tests.stack.child_programs import SLEEPS

Making = Callable[[str], subprocess.Popen[bytes]]
GENEROUS_SECONDS = 60
IGNORES_TERM = f"import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); {SLEEPS}"


@pytest.fixture
def making() -> Iterator[Making]:
    """Starts programs, and kills those that a test leaves."""
    made: list[subprocess.Popen[bytes]] = []

    def make(program: str) -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE))
        return made[-1]

    yield make
    for process in made:
        process.kill()
        process.communicate()


def as_recorded(process: subprocess.Popen[bytes]) -> Recorded:
    when = born(process.pid)
    assert when is not None
    return Recorded(process.pid, when)


def test_recorded_children_are_stopped(making: Making, tmp_path: Path) -> None:
    one, other = making(SLEEPS), making(SLEEPS)
    record(tmp_path, {"one": as_recorded(one), "other": as_recorded(other)})
    assert stop_leftovers(tmp_path) == ["one", "other"]
    assert one.wait(GENEROUS_SECONDS) == other.wait(GENEROUS_SECONDS) == -signal.SIGTERM
    assert recorded(tmp_path) == {}
    assert stop_leftovers(tmp_path) == []


def test_one_that_will_not_stop_is_killed(making: Making, tmp_path: Path) -> None:
    process = making(IGNORES_TERM)
    assert process.stdout is not None
    assert process.stdout.readline() == b"\n"
    record(tmp_path, {"stubborn": as_recorded(process)})
    assert stop_leftovers(tmp_path, term_seconds=0.1) == ["stubborn"]
    assert process.wait(GENEROUS_SECONDS) == -signal.SIGKILL


def test_a_paused_one_is_stopped_all_the_same(making: Making, tmp_path: Path) -> None:
    process = making(SLEEPS)
    process.send_signal(signal.SIGSTOP)
    record(tmp_path, {"paused": as_recorded(process)})
    began = time.monotonic()
    assert stop_leftovers(tmp_path, term_seconds=3600) == ["paused"]
    assert time.monotonic() - began < GENEROUS_SECONDS


def test_an_id_that_somebody_else_has_now_is_left_alone(making: Making, tmp_path: Path) -> None:
    process = making(SLEEPS)
    boot = as_recorded(process).born.partition("/")[0]
    record(tmp_path, {"gone": Recorded(process.pid, f"{boot}/1")})
    assert stop_leftovers(tmp_path) == []
    assert process.poll() is None


def test_an_ended_process_that_nobody_has_asked_about_counts_as_gone(
    making: Making, tmp_path: Path
) -> None:
    process = making("pass")
    assert process.stdout is not None
    process.stdout.read()  # until it ends, without asking for its exit code
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert born(process.pid) is None
    assert process.returncode is None


@pytest.mark.parametrize("text", [None, "", "{"])
def test_no_record_or_half_of_one_is_no_reason_to_stop_anything(
    tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / CHILDREN).write_text(text)
    assert stop_leftovers(tmp_path) == []
