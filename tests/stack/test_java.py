"""Which Java is taken, and what is said when there is none that will do."""

from pathlib import Path

import pytest

from devstack.stack.errors import JavaNotFoundError
from devstack.stack.java import find_java


def java_that_says(home: Path, line: str) -> Path:
    """Makes a `java` that prints a version as the real ones do, on standard error."""
    path = home / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{line}' >&2\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))


def test_java_17_of_java_home_is_taken_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java_that_says(tmp_path / "jvm" / "other", 'openjdk version "17.0.1" 2021-10-19')
    chosen = java_that_says(tmp_path / "home", 'openjdk version "17.0.15" 2025-04-15')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java(tmp_path / "jvm") == (chosen, 17)


def test_a_java_that_is_too_new_is_passed_over_for_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java_that_says(tmp_path / "home", 'openjdk version "25.0.1" 2025-10-21')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    fitting = java_that_says(tmp_path / "jvm" / "java-17", 'openjdk version "17" 2021-09-14')
    assert find_java(tmp_path / "jvm").path == fitting


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('openjdk version "25.0.1" 2025-10-21', "Java 25"),
        ('openjdk version "11.0.30" 2026-01-20', "Java 11"),
        ('java version "1.8.0_402"', "Java 8"),
    ],
)
def test_another_java_is_named_with_the_cure(tmp_path: Path, line: str, named: str) -> None:
    path = java_that_says(tmp_path / "jvm" / "only", line)
    with pytest.raises(JavaNotFoundError, match=f"{named} .*install a JDK or JRE 17") as refused:
        find_java(tmp_path / "jvm")
    assert str(path) in str(refused.value)


def test_no_java_at_all_is_told_with_the_cure(tmp_path: Path) -> None:
    java_that_says(tmp_path / "jvm" / "broken", "Segmentation fault")
    with pytest.raises(JavaNotFoundError, match=r"no Java was found.*JAVA_HOME"):
        find_java(tmp_path / "jvm")
