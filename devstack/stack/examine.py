"""Looks at what the real stack needs of a machine; what is missing is told with how to get it."""

import shutil
from pathlib import Path
from typing import Final

from devstack.edge.binary import EnvoyNotFoundError, envoy_path
from devstack.finding import Finding
from devstack.stack import cassandra, kafka
from devstack.stack.down import left_behind
from devstack.stack.errors import AddressTakenError, JavaNotFoundError
from devstack.stack.jars import Release
from devstack.stack.java import find_java
from devstack.stack.ports import free_port

SMALLEST_MIB: Final = 2_560
"""One node, one broker and the services, as measured: 1.25 GiB, 0.35 GiB and 0.1 GiB each."""

LARGEST_MIB: Final = 7_168
"""Three nodes, three brokers and two of each service."""

ALL_HOSTS: Final = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
MEMORY: Final = Path("/proc/meminfo")
GROUP_MEMORY: Final = Path("/sys/fs/cgroup")


def examine_stack() -> list[Finding]:
    """Looks at Java, Maven, the fetched servers, Envoy, memory, addresses and leftovers."""
    return [
        _java(),
        _maven(),
        *(_release(release) for release in (cassandra.RELEASE, kafka.RELEASE)),
        _envoy(),
        memory(available_mib()),
        _addresses(),
        _leftovers(),
    ]


def _java() -> Finding:
    try:
        java = find_java()
    except JavaNotFoundError as error:
        return Finding("java", "missing", str(error))
    return Finding("java", "ok", f"{java.version}, {java.path}")


def _maven() -> Finding:
    path = shutil.which("mvn")
    if path is not None:
        return Finding("maven", "ok", path)
    if all(release.jars() for release in (cassandra.RELEASE, kafka.RELEASE)):
        return Finding("maven", "ok", "not here, and not needed: the servers are in the cache")
    return Finding("maven", "missing", "not here; it fetches the servers once: install Maven (mvn)")


def _release(release: Release) -> Finding:
    subject = f"{release.name} {release.version}"
    if release.jars():
        return Finding(subject, "ok", str(release.folder()))
    text = "not fetched yet; the first start does, or `python -m devstack.stack fetch` now"
    return Finding(subject, "note", text)


def _envoy() -> Finding:
    try:
        return Finding("envoy", "ok", str(envoy_path()))
    except EnvoyNotFoundError as error:
        return Finding("envoy", "missing", str(error))


def available_mib() -> int | None:
    """Returns how much memory new processes may take, in MiB; None where nobody tells."""
    free = [_meminfo(), _group_room()]
    return min((mib for mib in free if mib is not None), default=None)


def _meminfo() -> int | None:
    try:
        lines = MEMORY.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if "MemAvailable" in line), None)


def _group_room() -> int | None:
    """Returns what a container's limit leaves; None where there is no limit."""
    try:
        limit = int((GROUP_MEMORY / "memory.max").read_text())
        used = int((GROUP_MEMORY / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return (limit - used) // 2**20


def memory(mib: int | None) -> Finding:
    """Says which shapes of the stack fit into some memory.

    Args:
        mib: How much is available, in MiB; None when that is not known.
    """
    if mib is None:
        text = f"not known; the smallest stack needs {SMALLEST_MIB:,} MiB"
        return Finding("memory", "note", text)
    have = f"{mib:,} MiB available"
    if mib < SMALLEST_MIB:
        text = f"{have}; the smallest stack needs {SMALLEST_MIB:,} MiB: stop something, or add some"
        return Finding("memory", "missing", text)
    if mib < LARGEST_MIB:
        text = f"{have}: one node and broker fit, three of each need {LARGEST_MIB:,} MiB"
        return Finding("memory", "note", text)
    return Finding("memory", "ok", f"{have}; three nodes and three brokers fit")


def _addresses() -> Finding:
    try:
        free_port(ALL_HOSTS, besides=set())
    except AddressTakenError as error:
        return Finding("addresses", "missing", str(error))
    return Finding("addresses", "ok", f"ports are free on {', '.join(ALL_HOSTS)}")


def _leftovers() -> Finding:
    folders = left_behind()
    if not folders:
        return Finding("leftovers", "ok", "no launcher has left a server behind")
    text = f"servers of {', '.join(map(str, folders))} have no launcher; `make stack-down`"
    return Finding("leftovers", "note", text)
