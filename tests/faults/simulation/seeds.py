"""Many seeds, on all cores; promise: each broken promise comes with its seed and a shrunk trace."""

import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from tests.faults.simulation.world import Setting, report, shrunk, simulate

CHUNK = 50
"""How many seeds a core takes at once."""

FOUND_MAX = 3
"""After how many failures the rest is left."""


def failure(seed: int) -> str | None:
    """Runs a seed as it has to be; returns what to tell people, None when all was kept."""
    setting = Setting()
    result = simulate(seed, setting)
    return report(seed, shrunk(seed, setting, result)) if result.broken else None


def failures(seeds: Iterable[int], cores: int | None = None) -> list[str]:
    """Runs seeds on so many cores, on all by default; returns some of what they found."""
    workers = cores or os.cpu_count() or 1
    if workers == 1:
        return list(islice((told for told in map(failure, seeds) if told is not None), FOUND_MAX))
    found: list[str] = []
    # Not forked: a fork of a process with threads may stand still.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for told in pool.map(failure, seeds, chunksize=CHUNK):
            if told is not None:
                found.append(told)
            if len(found) == FOUND_MAX:
                pool.shutdown(cancel_futures=True)
                break
    return found


def first_broken(setting: Setting, seeds: Iterable[int]) -> int | None:
    """Returns the first seed at which a setting breaks a promise; None where none does."""
    return next((seed for seed in seeds if simulate(seed, setting).broken), None)
