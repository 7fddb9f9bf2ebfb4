"""The repository's names, and what must not stand in it."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
BANNED = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "base",
    "core",
    "manager",
    "handlers",
    "misc",
}
BANNED_WORDS = re.compile(
    r"monkeypatch\.setattr|unittest\.mock|MagicMock|NotImplementedError|\bTODO\b|\bFIXME\b"
)
CONFLICT_MARKS = re.compile(r"^(<{7} |={7}$|>{7} )")
REGISTRY_HOSTS = re.compile(r"pypi\.org|pythonhosted|repo1\.maven|registry\.npmjs|proxy\.golang")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def found(pattern: re.Pattern[str], *globs: str) -> list[str]:
    hits = []
    for path in tracked(*globs):
        if path == Path(__file__) or path.suffix in {".binpb", ".zip", ".bin"}:
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if pattern.search(line):
                hits.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    return hits


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    bad = [
        path
        for path in tracked("*.py", "*.proto")
        if BANNED & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    ]
    assert bad == []


def test_no_stub_and_no_mock_stands_in_the_code() -> None:
    assert found(BANNED_WORDS, "*.py") == []


def test_no_merge_was_left_half_done() -> None:
    assert found(CONFLICT_MARKS) == []


def test_no_package_registry_is_named() -> None:
    assert found(REGISTRY_HOSTS) == []


def test_no_path_of_one_machine_is_named() -> None:
    assert found(re.compile(r"(^|[^A-Za-z0-9_.])/(work|root|home)/")) == []


def test_every_python_file_says_what_it_is() -> None:
    silent = [
        path
        for path in tracked("*.py")
        if not path.read_text().lstrip().startswith(('"""', 'r"""', "#!"))
    ]
    assert silent == []


def test_every_module_of_the_product_is_used() -> None:
    sources = {path: path.read_text() for path in tracked("*.py", "pyproject.toml", "Makefile")}
    dead = []
    for path in sources:
        relative = path.relative_to(ROOT)
        if relative.parts[0] == "tests" or path.stem in {"__init__", "__main__"}:
            continue
        if path.suffix != ".py":
            continue
        package, name = ".".join(relative.parts[:-1]), path.stem
        use = re.compile(
            rf"{re.escape(package)}\.{name}\b|from {re.escape(package)} import [^#]*\b{name}\b"
        )
        if not any(use.search(text) for other, text in sources.items() if other != path):
            dead.append(str(relative))
    assert dead == []
