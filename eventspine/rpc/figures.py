"""What services count and measure; promise: counting costs next to nothing and needs no library.

A service keeps plain numbers and gives them as figures when it is asked. How they are shown is
decided elsewhere (`eventspine/process/metrics.py`).
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

BOUNDS_SECONDS: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1),
    *(0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
"""The upper ends of the classes into which durations are sorted."""

Labels = tuple[str, ...]
"""The values of a figure's labels, in the order of their names."""


class Timings:
    """How long something took each time: how often it fell into each class, and the sum.

    Attributes:
        counts: By class of `BOUNDS_SECONDS`, the last one for what took longer than all of them.
        sum_seconds: All of it together.
    """

    __slots__ = ("counts", "sum_seconds")

    def __init__(self) -> None:
        """Starts with none."""
        self.counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self.sum_seconds = 0.0

    def note(self, seconds: float) -> None:
        """Takes one duration."""
        self.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds


class Figure(NamedTuple):
    """One thing that was counted or measured, by its labels.

    Attributes:
        name: With its unit; a counter's ends in `_total`.
        kind: A counter only grows; a gauge is as it is now; timings are a histogram of seconds.
        help: One sentence for operators.
        label_names: The names of its labels; may be empty.
        samples: By label values; empty where nothing has happened yet.
    """

    name: str
    kind: Literal["counter", "gauge", "timings"]
    help: str
    label_names: Labels
    samples: Mapping[Labels, float | Timings]
