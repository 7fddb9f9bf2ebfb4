"""Stops what a launcher left behind; promise: only processes that are recorded, and still the same.

A record is a process id with the time when that process was born, so that an id that the system has
given to somebody else since is left alone.
"""

import json
import os
import signal
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from devstack.stack.born import born

CHILDREN: Final = "children.json"
TERM_SECONDS: Final = 30.0
KILL_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.05


class Recorded(NamedTuple):
    """A child as it is recorded: its process id and when it was born."""

    pid: int
    born: str

    @property
    def alive(self) -> bool:
        """Whether this very process is still there."""
        return born(self.pid) == self.born


def recorded(folder: Path) -> dict[str, Recorded]:
    """Returns the children that are recorded in a state folder, by name; empty when none are.

    A record that cannot be read counts as none: it is written whole or not at all.
    """
    try:
        entries: dict[str, list[int | str]] = json.loads((folder / CHILDREN).read_text())
    except (OSError, ValueError):
        return {}
    return {name: Recorded(int(pid), str(when)) for name, (pid, when) in entries.items()}


def record(folder: Path, children: Mapping[str, Recorded]) -> None:
    """Replaces the record of a state folder."""
    beside = folder / f"{CHILDREN}.new"
    beside.write_text(json.dumps(children))
    os.replace(beside, folder / CHILDREN)


def stop_leftovers(folder: Path, *, term_seconds: float = TERM_SECONDS) -> list[str]:
    """Stops the recorded children of a state folder that still run.

    Args:
        folder: A state folder whose launcher is gone.
        term_seconds: How long they may take to stop before they are killed.

    Returns:
        The names of those that ran; empty when there was nothing to do.
    """
    running = {name: child for name, child in recorded(folder).items() if child.alive}
    for child in running.values():
        _signal(child, signal.SIGTERM)
        _signal(child, signal.SIGCONT)
    if not _gone(running.values(), term_seconds):
        for child in running.values():
            _signal(child, signal.SIGKILL)
        _gone(running.values(), KILL_SECONDS)
    record(folder, {name: child for name, child in running.items() if child.alive})
    return list(running)


def _signal(child: Recorded, number: signal.Signals) -> None:
    if child.alive:
        with suppress(ProcessLookupError):
            os.kill(child.pid, number)


def _gone(children: Collection[Recorded], seconds: float) -> bool:
    """Waits until they have ended, for a time; tells whether all have."""
    deadline = time.monotonic() + seconds
    while any(child.alive for child in children):
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True
