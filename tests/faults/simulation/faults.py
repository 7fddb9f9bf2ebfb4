"""Which faults strike, and when; promise: from one seed the same, and each can be left out.

Every kind of fault has its own chance, so that leaving one fault out does not move those of the
other kinds. A fault is known by its kind and by its number among those of its kind.
"""

import random
from collections.abc import Collection, Mapping
from typing import NamedTuple


class Fault(NamedTuple):
    """One fault of a run: its kind, and which of that kind it was, from 1."""

    kind: str
    number: int


PERCENT: Mapping[str, float] = {
    "command crash": 0.6,
    "processor crash": 0.6,
    "query crash": 0.6,
    "unavailable": 3.0,
    "lost before": 3.0,
    "lost after": 4.0,
    "applied late": 3.0,
    "half saved": 4.0,
    "bus unavailable": 3.0,
    "message lost": 5.0,
    "message repeated": 6.0,
    "messages reordered": 10.0,
    "message late": 8.0,
    "rebalance": 6.0,
    "slow": 4.0,
    "reader stalls": 10.0,
    "reader leaves": 6.0,
}
"""How often a fault of each kind strikes where it could, in a hundred."""

EVERY = frozenset(PERCENT)


class Faults:
    """The faults and delays of one run.

    Attributes:
        struck: The faults that struck, in order.
        trace: What happened, a line each.
        quiet: Whether there are no more faults.
    """

    def __init__(
        self,
        seed: int,
        *,
        kinds: Collection[str] = EVERY,
        left_out: Collection[Fault] = (),
        quiet: bool = False,
    ) -> None:
        """Makes the chances of a run; only `kinds` strike, and none of `left_out`."""
        self.chance = random.Random(seed)
        self.quiet = quiet
        self.struck: list[Fault] = []
        self.trace: list[str] = []
        self._left_out = frozenset(left_out)
        self._chances = {kind: random.Random(f"{seed} {kind}") for kind in PERCENT if kind in kinds}
        self._counts = dict.fromkeys(PERCENT, 0)
        self._delays = random.Random(f"{seed} delays")

    def strikes(self, kind: str, what: str) -> bool:
        """Tells whether a fault strikes now."""
        chance = self._chances.get(kind)
        if self.quiet or chance is None or chance.random() * 100 >= PERCENT[kind]:
            return False
        self._counts[kind] += 1
        fault = Fault(kind, self._counts[kind])
        if fault in self._left_out:
            return False
        self.struck.append(fault)
        self.tell(f"FAULT {kind} #{fault.number}: {what}")
        return True

    def between(self, least: float, most: float) -> float:
        """Returns some seconds."""
        return self._delays.uniform(least, most)

    def travel(self) -> float:
        """Returns how many seconds a message is under way."""
        return 0.0 if self.quiet else self._delays.random() * 0.02

    def tell(self, line: str) -> None:
        """Adds a line to the trace."""
        self.trace.append(line)
