"""P16, P17 and P18: commands of an embedded platform against raw commits and against a peer."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.embedded import EmbeddedBank
from bench.goals import P16, P17_100, P17_1000, P18_1, P18_100, P18_1000, Goal
from bench.needed import NeededWork
from bench.peer import Peer
from bench.raw_sqlite import RawEvents
from bench.report import Figure, Found, Line
from bench.rounds import interleave

COMMANDS = {1: 400, 100: 5_000, 1_000: 10_000}
"""How many commands a half of a round takes, by how many are on their way at once."""

RECORD_BYTES = 216
"""How large the record of a deposit is, so that the raw half stores as much."""

_NEEDED = {
    "needed": "the same commands decided, encoded and stored in a bare loop",
    "decided": "likewise, without the file",
}

_ALONE = "commands alone"
_FOLLOWED = "processor following with 3 views"


def raw_commits(folder: Path) -> list[Found]:
    """Measures P16 and P17, with and without the processor following in the same process."""
    goals: dict[int, Goal] = {1: P16, 100: P17_100, 1_000: P17_1000}
    found: list[Found] = []
    for in_flight, goal in goals.items():
        count, group = COMMANDS[in_flight], 1 if in_flight == 1 else 100
        with (
            _banks(folder, in_flight) as (alone, followed),
            _raw(folder, in_flight) as raw,
            _needed(folder, in_flight) as needed,
        ):
            rounds = interleave(
                {
                    "raw": lambda: raw.insert(count, group),  # noqa: B023  # runs in this turn
                    _ALONE: lambda: alone.execute(count),  # noqa: B023  # runs in this turn
                    _FOLLOWED: lambda: followed.execute(count),  # noqa: B023  # runs in this turn
                    "typed": lambda: alone.call(count),  # noqa: B023  # runs in this turn
                    "needed": lambda: needed.store(count, in_flight),  # noqa: B023  # likewise
                    "decided": lambda: needed.decide(count, in_flight),  # noqa: B023  # likewise
                }
            )
        setting = f"{in_flight} in flight, records of {RECORD_BYTES} bytes, FULL"
        for name in (_FOLLOWED, _ALONE):
            found.append(Line(goal, rounds.over(name, "raw"), f"{setting}, {name}"))
        callers = "commands alone, each caller waits for its answer"
        found.append(Line(goal, rounds.over("typed", "raw"), f"{setting}, {callers}"))
        for name, words in _NEEDED.items():
            bound = rounds.over(name, "raw").median
            found.append(Figure(f"{goal.number}, {words}", bound, "times raw", setting))
    return found


def against_peer(folder: Path) -> list[Found]:
    """Measures P18: the peer saves at the number of threads that suits it best."""
    found: list[Found] = []
    with ExitStack() as stack:
        peer = stack.enter_context(Peer(folder / "peer"))
        banks = {
            count: stack.enter_context(
                EmbeddedBank(folder / f"p18-{count}.db", in_flight=count, follow=False)
            )
            for count in COMMANDS
        }
        threads = peer.best_threads()
        rounds = interleave(
            {
                "peer one": lambda: peer.save(600, threads=1),
                "peer": lambda: peer.save(1_500, threads=threads),
                **{
                    str(count): lambda count=count: banks[count].execute(COMMANDS[count])  # type: ignore[misc]  # mypy cannot type a default of a lambda
                    for count in COMMANDS
                },
            }
        )
    goals = ((P18_1, 1, "peer one"), (P18_100, 100, "peer"), (P18_1000, 1_000, "peer"))
    for goal, count, raw in goals:
        used = 1 if count == 1 else threads
        setting = f"{count} in flight, FULL on both sides, peer with {used} threads"
        found.append(Line(goal, rounds.over(str(count), raw), setting))
    found.append(Figure("D8's best number of threads", threads, "threads", peer.versions))
    return found


@contextmanager
def _banks(folder: Path, in_flight: int) -> Iterator[tuple[EmbeddedBank, EmbeddedBank]]:
    with (
        EmbeddedBank(folder / f"alone-{in_flight}.db", in_flight=in_flight, follow=False) as alone,
        EmbeddedBank(folder / f"with-{in_flight}.db", in_flight=in_flight, follow=True) as followed,
    ):
        yield alone, followed


@contextmanager
def _raw(folder: Path, in_flight: int) -> Iterator[RawEvents]:
    raw = RawEvents(folder / f"raw-{in_flight}.db", RECORD_BYTES)
    try:
        yield raw
    finally:
        raw.close()


@contextmanager
def _needed(folder: Path, in_flight: int) -> Iterator[NeededWork]:
    needed = NeededWork(folder / f"needed-{in_flight}.db")
    try:
        yield needed
    finally:
        needed.close()
