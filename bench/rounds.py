"""How a ratio is measured: all halves in turns, the median of the quotients, and what was noisy.

A machine's speed drifts, so absolute figures of different days say nothing. The halves run A B A B
in one process tree; each round gives a quotient; the report gives their median and quartiles.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

ROUNDS = 5
NOISY_SWING = 0.30
CALIBRATION_LOOPS = 400_000


class Half(NamedTuple):
    """One half of one round.

    Attributes:
        operations: How many were asked for.
        seconds: How long they took: by the clock, or of a processor where the goal says so.
        stored: What was counted in the store or at the receiver after the run; a fast error is no
            result, so it must equal the operations.
    """

    operations: int
    seconds: float
    stored: int

    @property
    def per_second(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds


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
        """The lower and the upper quartile of the rounds' quotients; one round is both."""
        if len(self.quotients) == 1:
            return self.quotients[0], self.quotients[0]
        low, _, high = statistics.quantiles(self.quotients, n=4, method="inclusive")
        return low, high


class LostOperationsError(Exception):
    """A half did not do what it was asked for, so that its speed says nothing."""


class Rounds(NamedTuple):
    """What all halves did, round by round.

    Attributes:
        halves: By name, one half a round.
        noisy: Whether a fixed loop's speed swung by more than 30 % meanwhile.
    """

    halves: dict[str, list[Half]]
    noisy: bool

    def rates(self, name: str) -> tuple[float, ...]:
        """Returns a half's operations a second, one a round."""
        return tuple(half.per_second for half in self.halves[name])

    def over(self, ours: str, raw: str, *, cost: bool = False) -> Measured:
        """Returns the quotient of two halves.

        Args:
            ours: The name of our half.
            raw: The name of the raw half.
            cost: Whether the goal is a cost: the quotient is then our time over the raw time.
        """
        mine, theirs = self.rates(ours), self.rates(raw)
        pairs = zip(mine, theirs, strict=True)
        quotients = tuple(r / o if cost else o / r for o, r in pairs)
        return Measured(quotients, mine, theirs, self.noisy)


def calibrate() -> float:
    """Returns the speed of a fixed loop, in loops a second."""
    began = time.perf_counter()
    total = 0
    for number in range(CALIBRATION_LOOPS):
        total += number
    return CALIBRATION_LOOPS / (time.perf_counter() - began)


def interleave(halves: Mapping[str, Callable[[], Half]], *, rounds: int = ROUNDS) -> Rounds:
    """Runs halves in turns, after a look at how fast the machine is just then.

    Args:
        halves: By name, what runs a half once.
        rounds: How often each runs; 5 or more for a report.

    Raises:
        LostOperationsError: A half stored or received another number than it was asked for.
    """
    speeds: list[float] = []
    done: dict[str, list[Half]] = {name: [] for name in halves}
    for _ in range(rounds):
        speeds.append(calibrate())
        for name, run in halves.items():
            half = run()
            if half.stored != half.operations:
                raise LostOperationsError(f"{name}: {half.stored} of {half.operations} arrived")
            done[name].append(half)
    speeds.append(calibrate())
    return Rounds(done, max(speeds) / min(speeds) - 1 > NOISY_SWING)
