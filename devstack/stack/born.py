"""Tells processes apart; promise: an id given to somebody else since is never taken for ours."""

import subprocess
from pathlib import Path
from typing import Final

_STATE, _START_TIME = 0, 19
ANSWER_SECONDS: Final = 10


def born(pid: int) -> str | None:
    """Returns when a process was started, in words that no other process of this id has had.

    Args:
        pid: A process id.

    Returns:
        The boot and the clock tick of its start (where there is no /proc: the second); None when
        no such process is there, or it has ended and nobody has asked for its exit code.
    """
    if not Path("/proc/self/stat").exists():
        return _asked(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in brackets, which may hold anything.
    fields = stat.rpartition(")")[2].split()
    if fields[_STATE] in "ZX":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{fields[_START_TIME]}"


def _asked(pid: int) -> str | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
    )
    state, _, started = done.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None
