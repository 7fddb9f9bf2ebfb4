"""How ratios are measured: turns, quotients, quartiles, and that lost operations are no result."""

import pytest

from bench.goals import P8, P17_100
from bench.report import Figure, Line, save, table
from bench.rounds import Half, LostOperationsError, Measured, Rounds, interleave


def test_halves_run_in_turns_and_each_round_gives_a_quotient() -> None:
    ran: list[str] = []

    def half(name: str, seconds: float) -> Half:
        ran.append(name)
        return Half(10, seconds, 10)

    rounds = interleave({"ours": lambda: half("a", 2.0), "raw": lambda: half("b", 1.0)}, rounds=3)
    assert ran == ["a", "b"] * 3
    assert rounds.over("ours", "raw").quotients == (0.5, 0.5, 0.5)


def test_a_cost_is_our_time_over_the_raw_time() -> None:
    rounds = Rounds({"ours": [Half(10, 3.0, 10)], "raw": [Half(10, 1.0, 10)]}, noisy=False)
    assert rounds.over("ours", "raw", cost=True).median == pytest.approx(3.0)


def test_a_half_that_lost_an_operation_is_no_result() -> None:
    with pytest.raises(LostOperationsError, match=r"ours: 9 of 10 arrived"):
        interleave({"ours": lambda: Half(10, 1.0, 9)}, rounds=1)


def test_median_and_quartiles_are_those_of_the_rounds() -> None:
    measured = Measured((1.0, 2.0, 3.0, 4.0, 100.0), (), (), noisy=False)
    assert measured.median == 3.0
    assert measured.quartiles == (2.0, 4.0)


@pytest.mark.parametrize(
    ("median", "verdict"),
    [(0.1, "BELOW FLOOR"), (0.15, "floor"), (0.3, "target"), (0.4, "stretch")],
)
def test_a_verdict_is_the_highest_mark_reached(median: float, verdict: str) -> None:
    assert P17_100.verdict(median) == verdict


@pytest.mark.parametrize(
    ("median", "verdict"),
    [(4.1, "BELOW FLOOR"), (4.0, "floor"), (2.5, "target"), (2.0, "stretch")],
)
def test_of_a_cost_less_is_better(median: float, verdict: str) -> None:
    assert P8.verdict(median) == verdict


def test_the_report_shows_verdicts_and_keeps_the_raw_rounds(tmp_path) -> None:
    measured = Measured((0.2, 0.2), (2_000.0, 2_000.0), (10_000.0, 10_000.0), noisy=True)
    found = [Line(P17_100, measured, "100 in flight"), Figure("bulk path", 12_345, "commands/s")]
    shown = table(found)
    assert "floor" in shown.splitlines()[1]
    assert "NOISY" in shown
    assert "bulk path: 12,345 commands/s" in shown
    kept = save(found, tmp_path).read_text()
    assert '"quotients"' in kept
    assert '"grpcio"' in kept
