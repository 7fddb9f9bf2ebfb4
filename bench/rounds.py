"""How a ratio is measured: both halves in turns, the median of the quotients, and what was noisy.

A machine's speed drifts, so absolute figures of different days say nothing. Both halves run A B A B
in one process tree; each round gives a quotient; the report gives their median and quartiles.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

ROUNDS = 5
NOISY_SWING = 0.30
CALIBRATION_LOOPS = 400_000


class Half(NamedTuple):
    """One half of one round.

    Attributes:
        per_second: Operations a second.
        stored: What was counted in the store or at the receiver after the run; a fast error is no
            result, so it must equal the operations.
    """

    per_second: float
    stored: int


class Measured(NamedTuple):
    """A ratio with what it was made of.

    Attributes:
        quotients: Ours over raw, one a round.
        ours: Our operations a second, one a round.
        raw: The raw operations a second, one a round.
        noisy: Whether a fixed loop's speed swung by more than 30 % meanwhile.
    """

    quotients: tuple[float, ...]
    ours: tuple[float, ...]
    raw: tuple[float, ...]
    noisy: bool

    @property
    def median(self) -> float:
        """The median of the rounds' quotients."""
        return statistics.median(self.quotients)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The lower and the upper quartile of the rounds' quotients."""
        low, _, high = statistics.quantiles(self.quotients, n=4, method="inclusive")
        return low, high


def calibrate() -> float:
    """Returns the speed of a fixed loop, in loops a second."""
    began = time.perf_counter()
    total = 0
    for number in range(CALIBRATION_LOOPS):
        total += number
    return CALIBRATION_LOOPS / (time.perf_counter() - began)


def interleave(
    ours: Callable[[], Half],
    raw: Callable[[], Half],
    *,
    rounds: int = ROUNDS,
    inverse: bool = False,
) -> Measured:
    """Runs both halves in turns.

    Args:
        ours: Runs our half once.
        raw: Runs the raw half once.
        rounds: How many of each; 5 or more for a report.
        inverse: Whether the goal is a cost: the quotient is then raw rate over our rate, which is
            our time over the raw time.
    """
    speeds: list[float] = []
    pairs: list[tuple[Half, Half]] = []
    for _ in range(rounds):
        speeds.append(calibrate())
        pairs.append((ours(), raw()))
    mine = tuple(pair[0].per_second for pair in pairs)
    theirs = tuple(pair[1].per_second for pair in pairs)
    return Measured(
        quotients=quotients(mine, theirs, inverse=inverse),
        ours=mine,
        raw=theirs,
        noisy=max(speeds) / min(speeds) - 1 > NOISY_SWING,
    )


def quotients(ours: Sequence[float], raw: Sequence[float], *, inverse: bool) -> tuple[float, ...]:
    """Returns the quotient of each round, ours over raw, or raw over ours for a cost."""
    return tuple(r / o if inverse else o / r for o, r in zip(ours, raw, strict=True))
