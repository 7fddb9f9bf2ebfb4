"""Stops a stack's children when its launcher dies, however it dies: `kill -9` included.

The launcher holds the other end of this process's standard input, and writes only when it has
stopped everything itself. When the launcher is gone the system closes that end, which is what this
process waits for; a moment later the system gives up the launcher's lock on the folder, too.
"""

import sys
import time
from pathlib import Path
from typing import IO, Final

from devstack.stack.home import give_up, own
from devstack.stack.leftovers import stop_leftovers

UNLOCK_SECONDS: Final = 10.0
"""How long a process that ends may hold its lock after its end of a pipe is closed, at most."""

LOOK_SECONDS: Final = 0.02


def main() -> None:
    """Waits for the launcher's end; stops what it left behind."""
    folder = Path(sys.argv[1])
    if sys.stdin.buffer.read():
        return
    lock = _owned(folder)
    if lock is not None:
        with lock:
            stop_leftovers(folder)
            give_up(folder)


def _owned(folder: Path) -> IO[str] | None:
    """Owns the folder of a launcher that ends; None when somebody else does, or it is gone."""
    end = time.monotonic() + UNLOCK_SECONDS
    while folder.exists() and time.monotonic() < end:
        lock = own(folder)
        if lock is not None:
            return lock
        time.sleep(LOOK_SECONDS)
    return None


if __name__ == "__main__":
    main()
