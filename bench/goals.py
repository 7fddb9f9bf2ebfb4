"""The goals of the ratio suite, and how a figure stands against them."""

from typing import NamedTuple


class Goal(NamedTuple):
    """One goal: a quotient with the marks that it is held against.

    Attributes:
        number: Its number in the list of goals.
        what: What is divided by what.
        floor: What is reached at least.
        target: What is aimed at.
        stretch: What would be excellent.
        cost: Whether less is better.
    """

    number: str
    what: str
    floor: float
    target: float
    stretch: float
    cost: bool = False

    def verdict(self, median: float) -> str:
        """Returns the highest mark that a median reaches: stretch, target, floor or below."""
        for name in ("stretch", "target", "floor"):
            mark: float = getattr(self, name)
            if median <= mark if self.cost else median >= mark:
                return name
        return "BELOW FLOOR"


P1 = Goal("P1", "CPU of Envoy and service for a dry run / D1", 1.15, 0.4, 0.2, cost=True)
P2 = Goal("P2", "p50 of a dry run / D1", 1.2, 0.8, 0.5, cost=True)
P8 = Goal("P8", "cold load of 100 events / read of their rows, time", 4, 3, 2, cost=True)
P9 = Goal("P9", "fold in memory, events/s / D5", 0.5, 0.7, 0.9)
P11 = Goal("P11", "rebuild, 20 events a key, events/s / D8 save and follow", 30, 80, 150)
P13 = Goal("P13", "catch-up of one subscriber, events/s / D10", 0.5, 0.7, 0.9)
P14 = Goal("P14", "CPU of a delivery to 200 subscribers / socket write", 5, 3, 1.5, cost=True)
P16 = Goal("P16", "commands/s one at a time / D6", 0.6, 0.8, 0.95)
P17_100 = Goal("P17", "commands/s, 100 in flight / D7", 0.15, 0.25, 0.4)
P17_1000 = Goal("P17", "commands/s, 1,000 in flight / D7", 0.3, 0.5, 0.7)
P18_1 = Goal("P18", "commands/s one at a time / D8", 0.9, 1.0, 1.3)
P18_100 = Goal("P18", "commands/s, 100 in flight / D8", 12, 20, 35)
P18_1000 = Goal("P18", "commands/s, 1,000 in flight / D8", 20, 35, 60)
P20 = Goal("P20", "durable appends/s over gRPC / echo calls/s, 100 in flight", 1.2, 2.0, 3.5)
P21_TIER = Goal("P21", "p50 that a tier of Envoy adds, ms", 0.5, 0.35, 0, cost=True)
P21_EVENT = Goal("P21", "CPU of Envoy per event of a batched stream, us", 1, 0.7, 0, cost=True)
P22_ENCODED = Goal("P22", "times an event's record is encoded on its way", 2, 1, 1, cost=True)
P22_PARSED = Goal("P22", "times it is parsed in the process", 1, 1, 0, cost=True)
