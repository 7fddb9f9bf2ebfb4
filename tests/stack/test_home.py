"""State folders: one owner each, and nothing outlives an owner that dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from devstack.stack.born import born
from devstack.stack.down import stop_all_leftovers, stop_stack
from devstack.stack.errors import StackError, StateOwnedError
from devstack.stack.home import Home, owner, stacks_folder
from devstack.stack.leftovers import recorded
from tests.stack.child_programs import SLEEPS

ROOT = Path(__file__).parents[2]
GENEROUS_SECONDS = 100


class Launcher(NamedTuple):
    """A launcher that runs, its state folder, and the process id of its child."""

    process: subprocess.Popen[str]
    folder: Path
    child: int


Launching = Callable[..., Launcher]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def launching() -> Iterator[Launching]:
    """Starts launchers with a child each; what a test leaves is killed."""
    launched: list[Launcher] = []

    def launch(*arguments: str) -> Launcher:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.stack.launcher", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        folder, child = process.stdout.readline().strip(), process.stdout.readline().strip()
        launched.append(Launcher(process, Path(folder), int(child)))
        return launched[-1]

    yield launch
    for launcher in launched:
        launcher.process.kill()
        launcher.process.communicate()
        until(lambda launcher=launcher: born(launcher.child) is None)


def until(holds: Callable[[], bool]) -> None:
    """Waits for a condition of other processes, which nothing else tells of."""
    deadline = time.monotonic() + GENEROUS_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_launcher_that_is_killed_leaves_no_child_and_no_thrown_away_state(
    launching: Launching,
) -> None:
    launcher = launching()
    assert launcher.folder.parent == stacks_folder()
    launcher.process.kill()
    until(lambda: born(launcher.child) is None)
    until(lambda: not launcher.folder.exists())


def test_a_state_that_is_kept_is_there_after_its_launcher_was_killed(
    launching: Launching, tmp_path: Path
) -> None:
    launcher = launching(str(tmp_path / "kept"))
    launcher.process.kill()
    until(lambda: recorded(launcher.folder) == {})
    assert born(launcher.child) is None
    assert (tmp_path / "kept" / "child" / "out.log").exists()


def test_a_state_that_somebody_owns_is_refused_with_who_it_is(
    launching: Launching, tmp_path: Path
) -> None:
    launcher = launching(str(tmp_path / "kept"))
    with pytest.raises(StateOwnedError, match=f"process {launcher.process.pid} runs"):
        Home.open(tmp_path / "kept")
    assert born(launcher.child) is not None


def test_down_leaves_a_stack_alone_whose_launcher_is_well_and_says_how_to_stop_it(
    launching: Launching, tmp_path: Path
) -> None:
    launcher = launching(str(tmp_path / "kept"))
    told: list[str] = []
    stop_all_leftovers(told.append)
    assert len(told) == 1
    assert f"process {launcher.process.pid}, which is well" in told[0]
    assert f"make stack-down STATE={launcher.folder}" in told[0]
    assert born(launcher.child) is not None


def test_down_by_name_asks_the_launcher_and_waits_for_it(
    launching: Launching, tmp_path: Path
) -> None:
    launcher = launching(str(tmp_path / "kept"))
    told: list[str] = []
    stop_stack(tmp_path / "kept", told.append)
    assert told[0] == f"process {launcher.process.pid} is asked to stop {launcher.folder}"
    assert launcher.process.wait(GENEROUS_SECONDS) == -signal.SIGTERM
    until(lambda: born(launcher.child) is None)
    with pytest.raises(StackError, match="there is no state folder"):
        stop_stack(tmp_path / "other", told.append)


def test_down_stops_what_is_left_when_the_guard_was_killed_too(
    launching: Launching, tmp_path: Path
) -> None:
    launcher = launching(str(tmp_path / "kept"))
    (guard,) = guards_of(launcher.folder)
    os.kill(guard, signal.SIGKILL)
    launcher.process.kill()
    launcher.process.wait(GENEROUS_SECONDS)
    assert born(launcher.child) is not None
    told: list[str] = []
    stop_all_leftovers(told.append)
    assert told == [f"stopped child of {launcher.folder}"]
    assert born(launcher.child) is None
    told.clear()
    stop_all_leftovers(told.append)
    assert told == ["nothing was left behind"]


def test_a_guard_waits_for_the_lock_of_a_launcher_whose_pipe_closed_before(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "kept")
    child = subprocess.Popen([sys.executable, "-c", SLEEPS])
    home.note("child", child.pid)
    guard = subprocess.Popen(
        [sys.executable, "-m", "devstack.stack.guard", str(home.folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
    )
    try:
        assert guard.stdin is not None
        guard.stdin.close()
        # The guard has looked for the lock, and not found it free, when it is still there.
        with pytest.raises(subprocess.TimeoutExpired):
            guard.wait(2)
        assert child.poll() is None
        home._lock.close()
        assert child.wait(GENEROUS_SECONDS) == -signal.SIGTERM
        assert guard.wait(GENEROUS_SECONDS) == 0
    finally:
        for process in (guard, child):
            process.kill()
            process.wait()


def guards_of(folder: Path) -> list[int]:
    """Returns the process ids of the guards of a state folder."""
    listed = subprocess.run(
        ["ps", "-ewwo", "pid=,args="], capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in listed.stdout.splitlines()]
    return [int(line[0]) for line in lines if line[-2:] == ["devstack.stack.guard", str(folder)]]


def test_a_state_is_owned_again_after_it_was_given_up(tmp_path: Path) -> None:
    for _ in range(2):
        home = Home.open(tmp_path / "kept")
        home.guard()
        assert owner(home.folder) == (os.getpid(), born(os.getpid()))
        home.close()
    assert guards_of(home.folder) == []
    thrown = Home.throw_away()
    thrown.close()
    assert not thrown.folder.exists()
