"""Finds the Java that runs both servers; promise: another version is named, not tried.

Cassandra 5 runs on Java 11 and 17 and refuses others; Kafka 4 brokers need 17 or newer.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from devstack.stack.errors import JavaNotFoundError

VERSION = 17
INSTALLED = Path("/usr/lib/jvm")
ANSWER_SECONDS = 30
QUICK = ("-XX:TieredStopAtLevel=1",)
"""Options of a server that is to start quickly: its code is compiled once, lightly.

A node is ready after 10 s of processor time instead of 23, and does less a second once it is warm.
"""

_VERSION_LINE = re.compile(r'version "(?:1\.)?(\d+)')


class Java(NamedTuple):
    """A Java runtime: the path of its `java`, and its major version such as 17."""

    path: Path
    version: int


def find_java(installed: Path = INSTALLED) -> Java:
    """Returns the first Java 17 of JAVA_HOME, PATH and a folder of installed ones.

    Args:
        installed: Where each Java is in a folder of its own.

    Raises:
        JavaNotFoundError: There is none; the text names those that were found.
    """
    found = []
    for path in _candidates(installed):
        java = _asked(path)
        if java is not None:
            if java.version == VERSION:
                return java
            found.append(java)
    cure = f"install a JDK or JRE {VERSION}, or set JAVA_HOME to one"
    if not found:
        raise JavaNotFoundError(f"no Java was found; the servers need Java {VERSION}: {cure}")
    seen = ", ".join(f"Java {java.version} ({java.path})" for java in found)
    raise JavaNotFoundError(
        f"Cassandra runs on Java 11 and 17 and Kafka on 17 and newer, so the servers need Java "
        f"{VERSION}; here is {seen}: {cure}"
    )


def _candidates(installed: Path) -> Iterator[Path]:
    """Yields each `java` there is, once, the user's choice first."""
    seen = set()
    home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    places = [Path(home, "bin", "java")] if home else []
    places += [Path(on_path)] if on_path else []
    places += sorted(installed.glob("*/bin/java"))
    for place in places:
        real = place.resolve()
        if real.is_file() and real not in seen:
            seen.add(real)
            yield place


def _asked(path: Path) -> Java | None:
    try:
        done = subprocess.run(
            [path, "-version"], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = _VERSION_LINE.search(done.stderr + done.stdout)
    return Java(path, int(said.group(1))) if said else None
