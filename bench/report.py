"""What was measured, for people as a table and for later looks as JSON."""

import json
import os
import platform
import sqlite3
import statistics
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from bench.goals import Goal
from bench.rounds import Measured

FOLDER = Path("var/bench")


class Line(NamedTuple):
    """A goal that was measured.

    Attributes:
        goal: What it is held against.
        measured: The rounds.
        setting: What tells this figure from others of the same goal.
        unit: What the absolute figures count.
    """

    goal: Goal
    measured: Measured
    setting: str
    unit: str = "/s"


class Figure(NamedTuple):
    """A figure without a goal."""

    name: str
    value: float
    unit: str
    setting: str = ""


Found = Line | Figure


def environment() -> dict[str, str]:
    """Returns what the figures depend on."""
    names = ("grpcio", "protobuf", "uvloop")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "sqlite": sqlite3.sqlite_version,
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def table(found: list[Found]) -> str:
    """Returns the table of what was found, widest column first aligned."""
    heads = ("goal", "median", "quartiles", "floor", "target", "stretch", "verdict", "ours", "raw")
    rows = [heads, *(_row(line) for line in found if isinstance(line, Line))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = []
    for row, line in zip(rows, [None, *(x for x in found if isinstance(x, Line))], strict=True):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
        if line is not None:
            noisy = "; NOISY: the machine's speed swung" if line.measured.noisy else ""
            lines.append(f"      {line.goal.what}; {line.setting}{noisy}")
    for figure in found:
        if isinstance(figure, Figure):
            setting = f"; {figure.setting}" if figure.setting else ""
            lines.append(f"{figure.name}: {_number(figure.value)} {figure.unit}{setting}")
    return "\n".join(line.rstrip() for line in lines)


def save(found: list[Found], folder: Path = FOLDER) -> Path:
    """Writes the raw rounds as JSON; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rounds.json"
    lines = [
        {
            "goal": line.goal._asdict(),
            "setting": line.setting,
            "median": line.measured.median,
            "verdict": line.goal.verdict(line.measured.median),
            **line.measured._asdict(),
        }
        for line in found
        if isinstance(line, Line)
    ]
    figures = [figure._asdict() for figure in found if isinstance(figure, Figure)]
    told = {"environment": environment(), "goals": lines, "figures": figures}
    path.write_text(json.dumps(told, indent=1) + "\n")
    return path


def say(text: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _row(line: Line) -> tuple[str, ...]:
    goal, measured = line.goal, line.measured
    low, high = measured.quartiles
    return (
        goal.number,
        _number(measured.median),
        f"{_number(low)}-{_number(high)}",
        *(_number(mark) for mark in (goal.floor, goal.target, goal.stretch)),
        goal.verdict(measured.median),
        *(
            f"{_number(statistics.median(rates))}{line.unit}"
            for rates in (measured.ours, measured.raw)
        ),
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
