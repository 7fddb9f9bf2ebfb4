"""The cache of the servers' jars, with a Maven that is a few lines of shell."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from devstack.stack.errors import JarsNotFoundError
from devstack.stack.jars import Release, fetched

RELEASE = Release("server", "1.2", ("org.example:server:1.2", "org.example:log:3"))
FETCH = "from tests.stack.test_jars import RELEASE; from devstack.stack.jars import fetched"

WORKS = """
echo once >> "$COUNT"
for argument; do
  case "$argument" in -DoutputDirectory=*) folder=${argument#*=};; esac
done
grep -q "<artifactId>server</artifactId><version>1.2</version>" pom.xml
sleep 0.3
echo first > "$folder/first.jar"
echo second > "$folder/second.jar"
"""
FAILS = "echo '[ERROR] Could not transfer artifact: Network is unreachable'; exit 1"


class Maven:
    """A command `mvn` on the path, and how often it was run."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._program = folder / "mvn"
        self._count = folder / "count"
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.setenv("COUNT", str(self._count))

    def does(self, script: str) -> None:
        self._program.write_text(f"#!/bin/sh\nset -e\n{script}")
        self._program.chmod(0o755)

    @property
    def runs(self) -> int:
        return len(self._count.read_text().splitlines()) if self._count.exists() else 0


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maven:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()
    return Maven(tmp_path / "bin", monkeypatch)


def test_jars_are_fetched_once_into_the_users_cache(maven: Maven, tmp_path: Path) -> None:
    maven.does(WORKS)
    folder = fetched(RELEASE)
    assert folder == tmp_path / "cache" / "eventspine" / "servers" / "server-1.2"
    assert sorted(path.name for path in folder.glob("*.jar")) == ["first.jar", "second.jar"]
    assert fetched(RELEASE) == folder
    assert maven.runs == 1


@pytest.mark.parametrize("lost", ["first.jar", "manifest.json"])
def test_a_folder_that_lost_a_file_is_fetched_anew(maven: Maven, lost: str) -> None:
    maven.does(WORKS)
    (fetched(RELEASE) / lost).unlink()
    assert (fetched(RELEASE) / lost).exists()
    assert maven.runs == 2


def test_a_jar_that_was_cut_short_is_fetched_anew(maven: Maven) -> None:
    maven.does(WORKS)
    (fetched(RELEASE) / "first.jar").write_text("")
    assert (fetched(RELEASE) / "first.jar").read_text() == "first\n"


def test_what_maven_said_is_told_and_nothing_half_is_left(maven: Maven) -> None:
    maven.does(FAILS)
    with pytest.raises(JarsNotFoundError, match=r"needs the network(.|\n)*is unreachable"):
        fetched(RELEASE)
    assert RELEASE.jars() is None
    assert not RELEASE.folder().exists()
    maven.does(WORKS)
    assert fetched(RELEASE).is_dir()


def test_a_maven_that_fetches_nothing_is_told(maven: Maven) -> None:
    maven.does("exit 0")
    with pytest.raises(JarsNotFoundError, match=r"fetched no jar for server 1\.2"):
        fetched(RELEASE)


def test_a_missing_maven_is_told_with_both_cures(
    maven: Maven, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(JarsNotFoundError, match=r"install Maven .*or copy that folder"):
        fetched(RELEASE)


async def test_processes_that_fetch_at_once_run_maven_once(maven: Maven) -> None:
    maven.does(WORKS)
    command = (sys.executable, "-c", f"{FETCH}; fetched(RELEASE)")
    root = Path(__file__).parents[2]
    processes = [
        await asyncio.create_subprocess_exec(*command, cwd=root, env=dict(os.environ))
        for _ in range(3)
    ]
    assert [await process.wait() for process in processes] == [0, 0, 0]
    assert maven.runs == 1
