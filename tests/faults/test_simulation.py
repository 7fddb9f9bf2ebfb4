"""The services' own code under seeded faults: no promise breaks, and each wrong rule breaks one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.simulation.controls import CONTROLS, RIGHT
from tests.faults.simulation.seeds import failures, first_broken
from tests.faults.simulation.world import Setting, report, shrunk, simulate

ROOT = Path(__file__).parents[2]

SEEDS = int(os.environ.get("SEEDS", "600"))
"""How many seeds `make test` runs: about half a minute of one core."""

THOROUGH_SEEDS = int(os.environ.get("SEEDS", "10000"))
"""How many seeds `make test-stack` runs, on all cores."""

CONTROL_SEEDS = 300
"""Within how many seeds a wrong rule has to be found."""


@pytest.mark.timeout(900)
def test_no_seed_breaks_a_promise() -> None:
    assert failures(range(1, SEEDS + 1), cores=1) == []


@pytest.mark.kills
@pytest.mark.timeout(3600)
def test_ten_thousand_seeds_break_no_promise() -> None:
    assert failures(range(1_000_001, 1_000_001 + THOROUGH_SEEDS)) == []


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.timeout(600)
def test_a_wrong_rule_is_found(name: str) -> None:
    seed = first_broken(CONTROLS[name], range(1, CONTROL_SEEDS + 1))
    assert seed is not None
    assert simulate(seed, RIGHT.get(name, Setting())).broken == []


@pytest.mark.parametrize("seed", range(1, 11))
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    first, second = simulate(seed, Setting()), simulate(seed, Setting())
    assert first.trace == second.trace
    assert first.struck


def test_a_seed_gives_the_same_trace_in_every_process() -> None:
    traces = {
        subprocess.run(
            [sys.executable, "-m", "tests.faults.simulation", "4"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    }
    assert len(traces) == 1


def test_different_seeds_give_different_traces() -> None:
    assert len({tuple(simulate(seed, Setting()).trace) for seed in range(1, 11)}) == 10


def test_a_failure_is_shrunk_to_what_it_takes_and_tells_its_seed() -> None:
    setting = CONTROLS["row_without_its_sequence"]
    seed = first_broken(setting, range(1, CONTROL_SEEDS + 1))
    assert seed is not None
    found = simulate(seed, setting)
    small = shrunk(seed, setting, found)
    assert small.broken
    assert 0 < len(small.struck) < len(found.struck)
    told = report(seed, small)
    assert f"seed {seed} breaks promises:" in told
    assert all(f"FAULT {fault.kind} #{fault.number}" in told for fault in small.struck)
