"""What the command service counts: commands by what became of them, and how long appends take."""

from collections.abc import Iterable

from command_svc.command import Outcome
from eventspine.rpc.figures import Figure, Timings


class CommandCounts:
    """Counts settled commands.

    Attributes:
        append_timings: How long the event store took for each group of appends that it decided.
    """

    def __init__(self) -> None:
        """Starts with none."""
        self.append_timings = Timings()
        self._outcomes: dict[str, int] = {}

    def settled(self, outcome: Outcome) -> None:
        """Counts one command by its outcome."""
        name = _name(outcome)
        self._outcomes[name] = self._outcomes.get(name, 0) + 1

    def figures(self) -> Iterable[Figure]:
        """Returns what was counted."""
        yield Figure(
            "eventspine_commands_total",
            "counter",
            "Commands by outcome: stored, replayed, nothing_to_do, dry_run, or the error's name.",
            ("outcome",),
            {(name,): count for name, count in self._outcomes.items()},
        )
        yield Figure(
            "eventspine_append_seconds",
            "timings",
            "How long the event store took for a group of appends.",
            (),
            {(): self.append_timings},
        )


def _name(outcome: Outcome) -> str:
    if isinstance(outcome, Exception):
        return type(outcome).__name__.removesuffix("Error")
    if outcome.would_append is not None:
        return "dry_run"
    if outcome.replayed:
        return "replayed"
    return "stored" if outcome.event_count else "nothing_to_do"
