"""Fetches the servers' jars once through Maven; promise: only a complete folder is ever used."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devstack.stack.errors import JarsNotFoundError
from devstack.stack.places import cache_folder

FETCH_SECONDS: Final = 600
MANIFEST: Final = "manifest.json"
TAIL_LINES: Final = 12


@dataclass(frozen=True, slots=True)
class Release:
    """One release of a server.

    Attributes:
        name: What it is called, such as `cassandra`.
        version: Its version, such as `5.0.8`.
        artifacts: What Maven fetches with all that it depends on, each `group:artifact:version`.
    """

    name: str
    version: str
    artifacts: tuple[str, ...]

    def folder(self) -> Path:
        """Returns where its jars are, or would be, in the user's cache."""
        return cache_folder() / "servers" / f"{self.name}-{self.version}"

    def jars(self) -> dict[str, int] | None:
        """Returns the names and sizes of its jars, or None when they are not all there."""
        folder = self.folder()
        try:
            sizes: dict[str, int] = json.loads((folder / MANIFEST).read_text())
            whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        except (OSError, ValueError):
            return None
        return sizes if whole and sizes else None


def fetched(release: Release, say: Callable[[str], None] = lambda _: None) -> Path:
    """Returns the folder of a release's jars; the first time, they are fetched.

    Only one process fetches at a time; others wait for it and use what it fetched.

    Args:
        release: Which server.
        say: Is told, in a sentence, what takes long.

    Raises:
        JarsNotFoundError: Maven is missing or failed. The cache is as it was.
    """
    if release.jars() is None:
        with _only_one(release, say):
            if release.jars() is None:
                say(f"fetching {release.name} {release.version} through Maven, once")
                _fetch(release)
    return release.folder()


@contextmanager
def _only_one(release: Release, say: Callable[[str], None]) -> Iterator[None]:
    folder = release.folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that fetches {release.name} {release.version}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(release: Release) -> None:
    """Fetches into a folder beside, and puts it in place when it is complete."""
    maven = shutil.which("mvn")
    if maven is None:
        raise JarsNotFoundError(
            f"{release.name} {release.version} is not in {release.folder()} and there is no Maven "
            "to fetch it: install Maven (the command mvn), or copy that folder from a machine that "
            "has it"
        )
    partial = release.folder().with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    (partial / "pom.xml").write_text(_pom(release))
    _run_maven(release, maven, partial)
    (partial / "pom.xml").unlink()
    sizes = {path.name: path.stat().st_size for path in sorted(partial.glob("*.jar"))}
    if not sizes:
        raise JarsNotFoundError(f"Maven fetched no jar for {release.name} {release.version}")
    (partial / MANIFEST).write_text(json.dumps(sizes, indent=1))
    shutil.rmtree(release.folder(), ignore_errors=True)
    os.replace(partial, release.folder())


def _run_maven(release: Release, maven: str, partial: Path) -> None:
    command = [
        *(maven, "--quiet", "--batch-mode", "--strict-checksums", "--file", "pom.xml"),
        *("dependency:copy-dependencies", f"-DoutputDirectory={partial}"),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=partial,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise JarsNotFoundError(
            f"Maven has not fetched {release.name} {release.version} in {FETCH_SECONDS} s; is the "
            "network slow? What it has is kept, so that the next try goes on from there"
        ) from error
    if done.returncode:
        lines = "\n  ".join(done.stdout.strip().splitlines()[-TAIL_LINES:])
        raise JarsNotFoundError(
            f"Maven could not fetch {release.name} {release.version}; it needs the network or a "
            f"mirror in its settings.xml the first time, or copy {release.folder()} from a machine "
            f"that has it. Maven said:\n  {lines}"
        )


def _pom(release: Release) -> str:
    dependencies = "".join(
        "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version>"
        "</dependency>".format(*artifact.split(":"))
        for artifact in release.artifacts
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>eventspine</groupId><artifactId>servers</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>\n"
    )
