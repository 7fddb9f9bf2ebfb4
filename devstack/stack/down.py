"""Stops what launchers left behind; promise: a stack that somebody runs is stopped only by name."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from devstack.stack.errors import StackError
from devstack.stack.home import give_up, own, owner, stacks_folder
from devstack.stack.leftovers import recorded, stop_leftovers

OWNER_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.1

Say = Callable[[str], None]


def stop_all_leftovers(say: Say) -> None:
    """Stops the children of every launcher of this user that has died.

    Args:
        say: Is told what was stopped, and of each stack that still has its launcher.
    """
    nothing = True
    for folder in _folders():
        running = owner(folder)
        lock = own(folder)
        if lock is not None:
            with lock:
                nothing &= not _stop(folder, say)
        elif running is not None and running.alive:
            nothing = False
            say(
                f"{folder} is run by process {running.pid}, which is well: stop it there with "
                f"Ctrl-C, or with `make stack-down STATE={folder}`"
            )
    if nothing:
        say("nothing was left behind")


def left_behind() -> list[Path]:
    """Returns the state folders with children whose launcher has died; empty when all is well."""
    left = []
    for folder in _folders():
        running = owner(folder)
        children = recorded(folder).values()
        if not (running is not None and running.alive) and any(c.alive for c in children):
            left.append(folder)
    return left


def stop_stack(folder: Path, say: Say) -> None:
    """Stops one stack: asks its launcher to, or, where that has died, stops what it left behind.

    Args:
        folder: Its state folder.
        say: Is told what was stopped.

    Raises:
        StackError: There is no such folder, or its launcher has not stopped in two minutes.
    """
    if not folder.is_dir():
        raise StackError(f"there is no state folder {folder}")
    running = owner(folder)
    lock = own(folder)
    if lock is None and running is not None and running.alive:
        say(f"process {running.pid} is asked to stop {folder}")
        os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + OWNER_SECONDS
    while lock is None and folder.exists():
        if time.monotonic() > deadline:
            raise StackError(f"{folder} was not given up in {OWNER_SECONDS:.0f} s; try again")
        time.sleep(LOOK_SECONDS)
        lock = own(folder)
    if lock is not None:
        with lock:
            _stop(folder, say)
    say(f"{folder} is stopped")


def _folders() -> Iterator[Path]:
    """Yields the state folder of each stack that is known; forgets those that are gone."""
    for entry in sorted(stacks_folder().glob("*")):
        folder = entry.resolve()
        if folder.is_dir():
            yield folder
        elif entry.is_symlink():
            entry.unlink(missing_ok=True)


def _stop(folder: Path, say: Say) -> bool:
    """Stops what was left behind in a folder that this process owns; tells whether anything was."""
    stopped = stop_leftovers(folder)
    if stopped:
        say(f"stopped {', '.join(stopped)} of {folder}")
    give_up(folder)
    return bool(stopped)
