"""The state folder of a stack: its owner, its children, and whether it outlives the run."""

import fcntl
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Self

from devstack.stack.born import born
from devstack.stack.errors import StateOwnedError
from devstack.stack.leftovers import Recorded, record, recorded, stop_leftovers
from devstack.stack.places import cache_folder

LOCK: Final = "owner"
THROW_AWAY: Final = "throw-away"
GUARD_SECONDS: Final = 60.0


def stacks_folder() -> Path:
    """Returns where every stack of this user is found: its folder, or a link to it."""
    return cache_folder() / "stacks"


class Home:
    """A state folder that this process owns.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, folder: Path, lock: IO[str]) -> None:
        """Takes a folder and its locked file; use `open` or `throw_away`."""
        self.folder = folder
        self._lock = lock
        self._guard: subprocess.Popen[bytes] | None = None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Owns a folder that is kept; makes it where it is missing.

        Raises:
            StateOwnedError: Another process owns it; the text says which. Nothing was changed.
        """
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        home = cls(folder, _locked(folder))
        link = _link(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            link.symlink_to(folder)
        return home

    @classmethod
    def throw_away(cls) -> Self:
        """Makes and owns a folder that is deleted in the end."""
        folder = stacks_folder() / f"run-{secrets.token_hex(6)}"
        folder.mkdir(parents=True)
        (folder / THROW_AWAY).touch()
        return cls(folder, _locked(folder))

    def room(self, name: str) -> Path:
        """Returns the folder of one child; makes it where it is missing."""
        room = self.folder / name
        room.mkdir(exist_ok=True)
        return room

    def note(self, name: str, pid: int) -> None:
        """Records a child that was just started, so that it is found when this process dies."""
        when = born(pid)
        if when is not None:
            record(self.folder, recorded(self.folder) | {name: Recorded(pid, when)})

    def guard(self) -> None:
        """Starts a process that stops the recorded children should this one die before them."""
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "devstack.stack.guard", str(self.folder)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Gives the folder up, after its children were stopped; deletes it if it is throw-away."""
        stop_leftovers(self.folder)
        if self._guard is not None:
            self._guard.communicate(b"stopped", timeout=GUARD_SECONDS)
        give_up(self.folder)
        self._lock.close()


def owner(folder: Path) -> Recorded | None:
    """Returns the process that owned a state folder last; None where none ever did."""
    try:
        pid, _, when = (folder / LOCK).read_text().strip().partition(" ")
        return Recorded(int(pid), when)
    except (OSError, ValueError):
        return None


def own(folder: Path) -> IO[str] | None:
    """Owns a state folder of a launcher that is gone; None when it is not gone."""
    try:
        return _locked(folder)
    except StateOwnedError:
        return None


def give_up(folder: Path) -> None:
    """Forgets a state folder without children, and deletes it if it is throw-away."""
    if (folder / THROW_AWAY).exists():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _link(folder).unlink(missing_ok=True)


def _link(folder: Path) -> Path:
    """Returns where a state folder that is kept is found among the stacks of this user."""
    return stacks_folder() / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]


def _locked(folder: Path) -> IO[str]:
    lock = (folder / LOCK).open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        running = owner(folder)
        process = f"process {running.pid}" if running is not None else "another process"
        raise StateOwnedError(
            f"{folder} is the state of a stack that {process} runs; stop that one (Ctrl-C, or "
            f"`make stack-down STATE={folder}`), or choose another folder"
        ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()} {born(os.getpid())}")
    lock.flush()
    return lock
