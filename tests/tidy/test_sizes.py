"""The repository's sizes: functions, parameters, branches, modules, ports and protos."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [
    "bench",
    "command_svc",
    "devstack",
    "domains",
    "eventspine",
    "processor_svc",
    "query_svc",
]
FUNCTION_LINES_MAX = 50
BRANCHES_MAX = 8
PARAMETERS_MAX = 6
MODULE_LINES_MAX = 400
PROTO_LINES_MAX = 500
PORT_METHODS_MAX = 6

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.match_case)


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def functions(path: Path) -> Iterator[FUNCTION]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, FUNCTION):
            yield node


def place(path: Path, node: FUNCTION) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def code_lines(node: FUNCTION) -> int:
    """Counts a function's lines without its docstring and without the functions inside of it."""
    first = node.body[0]
    docstring = (
        first.end_lineno - first.lineno + 1
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        else 0
    )
    inner = sum(code_lines(n) for n in ast.walk(node) if isinstance(n, FUNCTION) and n is not node)
    return node.end_lineno - node.lineno + 1 - docstring - inner


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, FUNCTION | ast.Lambda | ast.ClassDef):
            yield child
            yield from own_nodes(child)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_function_is_small_enough_to_read_at_once(path: Path) -> None:
    long = [place(path, f) for f in functions(path) if code_lines(f) > FUNCTION_LINES_MAX]
    branchy = [
        place(path, f)
        for f in functions(path)
        if sum(isinstance(n, BRANCHES) for n in own_nodes(f)) > BRANCHES_MAX
    ]
    wide = [
        place(path, f)
        for f in functions(path)
        if len([a for a in (*f.args.args, *f.args.kwonlyargs) if a.arg not in ("self", "cls")])
        > PARAMETERS_MAX
        and not any(isinstance(d, ast.Call) for d in f.decorator_list)
        and not is_command_line(path)
    ]
    assert (long, branchy, wide) == ([], [], [])


def is_command_line(path: Path) -> bool:
    """Tells the files whose parameters are a command's options, as typer reads them."""
    return path.parent == ROOT / "devstack" / "cli"


def test_every_module_is_short_enough_to_hold_in_mind() -> None:
    assert [p for p in modules() if len(p.read_text().splitlines()) > MODULE_LINES_MAX] == []


def test_every_proto_file_is_short_enough() -> None:
    protos = sorted((ROOT / "protos").rglob("*.proto"))
    assert protos
    assert [p for p in protos if len(p.read_text().splitlines()) > PROTO_LINES_MAX] == []


def test_every_storage_port_has_few_methods() -> None:
    tree = ast.parse((ROOT / "eventspine/storage/ports.py").read_text())
    ports = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(ports) >= 6
    for port in ports:
        methods = [n for n in port.body if isinstance(n, FUNCTION)]
        assert len(methods) <= PORT_METHODS_MAX, port.name
