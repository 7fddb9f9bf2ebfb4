"""Domains are pure: no clock, no chance, no I/O, no logging, nothing kept between calls."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOMAINS = ROOT / "domains"

ALLOWED = {
    "bisect",
    "collections",
    "dataclasses",
    "decimal",
    "domains",
    "enum",
    "eventspine.domain",
    "fractions",
    "functools",
    "google.protobuf",
    "heapq",
    "itertools",
    "math",
    "operator",
    "re",
    "string",
    "types",
    "typing",
    "unicodedata",
}
"""What cannot do anything but compute. All else is refused, so nothing can be forgotten here."""

NAMES_FROM_DATETIME = {"UTC", "date", "datetime", "time", "timedelta", "timezone"}
FORBIDDEN_CALLS = {
    "GetCurrentTime",
    "__import__",
    "eval",
    "exec",
    "fromtimestamp",
    "globals",
    "id",
    "input",
    "now",
    "open",
    "print",
    "today",
    "utcnow",
}
"""Calls by their last name, whatever they are called on."""


def impurities(text: str, own: str = "") -> list[str]:
    """Returns what is impure in a module, each with its line; `own` is the domain's package."""
    return [f"{line}: {what}" for line, what in _impurities(ast.parse(text), ALLOWED | {own})]


def _impurities(tree: ast.Module, allowed: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imported(node, allowed)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            yield node.lineno, f"assigns to {', '.join(node.names)} outside of the function"
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if name in FORBIDDEN_CALLS:
                yield node.lineno, f"calls {name}"
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield node.lineno, "waits for something"


def _imported(node: ast.Import | ast.ImportFrom, allowed: set[str]) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import):
        for name in node.names:
            if not _is_allowed(name.name, allowed):
                yield node.lineno, f"imports {name.name}"
        return
    module = node.module or ""
    if module == "datetime":
        for name in node.names:
            if name.name not in NAMES_FROM_DATETIME:
                yield node.lineno, f"imports {name.name} of datetime"
    elif node.level == 0 and not _is_allowed(module, allowed):
        yield node.lineno, f"imports {module}"


def _is_allowed(module: str, allowed: set[str]) -> bool:
    parts = module.split(".")
    return any(".".join(parts[:count]) in allowed for count in range(1, len(parts) + 1))


def domain_modules() -> list[Path]:
    return sorted(DOMAINS.rglob("*.py"))


@pytest.mark.parametrize("path", domain_modules(), ids=lambda path: str(path.relative_to(DOMAINS)))
def test_a_domain_module_only_computes(path: Path) -> None:
    own = path.relative_to(DOMAINS).parts[0]
    assert impurities(path.read_text(), own) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import time", "imports time"),
        ("import random", "imports random"),
        ("import logging", "imports logging"),
        ("import os.path", "imports os.path"),
        ("from io import StringIO", "imports io"),
        ("import uuid", "imports uuid"),
        ("from pathlib import Path", "imports pathlib"),
        ("import eventspine.storage.ports", "imports eventspine.storage.ports"),
        ("from eventspine.storage import ports", "imports eventspine.storage"),
        ("from flights.v1 import views_pb2", "imports flights.v1"),
        ("from datetime import datetime\nnow = datetime.now()", "calls now"),
        ("from datetime import date\ndate.today()", "calls today"),
        ("import datetime", "imports datetime"),
        ("def f():\n    print('x')", "calls print"),
        ("def f():\n    open('x')", "calls open"),
        ("x = 0\ndef f():\n    global x\n    x = 1", "assigns to x"),
        ("async def f():\n    pass", "waits"),
        ("def f(stamp):\n    stamp.GetCurrentTime()", "calls GetCurrentTime"),
    ],
)
def test_an_impure_module_is_caught(text: str, words: str) -> None:
    assert any(words in found for found in impurities(text, "bank"))


def test_a_pure_module_passes() -> None:
    text = (
        "import math\nfrom collections.abc import Sequence\nfrom datetime import date, timedelta\n"
        "from bank.v1 import views_pb2\nfrom eventspine.domain.refusal import refuse\n"
        "from domains.bank.account import ACCOUNT\nx = date(2013, 1, 1) + timedelta(days=1)\n"
    )
    assert impurities(text, "bank") == []
