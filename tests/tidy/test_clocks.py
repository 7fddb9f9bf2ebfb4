"""The services decide by the clocks they are given: a simulated run is the same on each machine."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("command_svc", "processor_svc", "query_svc")

ALLOWED = {"perf_counter"}
"""How long something took is told to operators; nothing may be decided by it."""

CALLS = {"datetime.now", "datetime.utcnow", "datetime.datetime.now", "date.today"}


def clocks(text: str) -> list[str]:
    """Returns where a module reads a clock of the machine, each with its line."""
    return [f"{line}: {what}" for line, what in _clocks(ast.parse(text))]


def _clocks(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name == "time":
                    yield node.lineno, "imports time"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            for name in node.names:
                if name.name not in ALLOWED:
                    yield node.lineno, f"imports {name.name} of time"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS:
            yield node.lineno, f"calls {ast.unparse(node.func)}"


def service_modules() -> list[Path]:
    return sorted(path for service in SERVICES for path in (ROOT / service).rglob("*.py"))


@pytest.mark.parametrize("path", service_modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_service_decides_by_no_clock_of_the_machine(path: Path) -> None:
    assert clocks(path.read_text()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import time", "imports time"),
        ("from time import monotonic", "imports monotonic"),
        ("from datetime import datetime\nx = datetime.now()", "calls datetime.now"),
    ],
)
def test_a_clock_of_the_machine_is_caught(text: str, words: str) -> None:
    assert any(words in found for found in clocks(text))


def test_a_timing_passes() -> None:
    assert clocks("from time import perf_counter\nfrom datetime import timedelta") == []
