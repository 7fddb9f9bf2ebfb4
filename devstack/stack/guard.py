"""Stops a stack's children when its launcher dies, however it dies: `kill -9` included.

The launcher holds the other end of this process's standard input, and never writes. When the
launcher is gone the system closes it, which is what this process waits for.
"""

import sys
from pathlib import Path

from devstack.stack.home import give_up, own
from devstack.stack.leftovers import stop_leftovers


def main() -> None:
    """Waits for the launcher's end; stops what it left behind."""
    folder = Path(sys.argv[1])
    sys.stdin.buffer.read()
    lock = own(folder) if folder.exists() else None
    if lock is not None:
        with lock:
            stop_leftovers(folder)
            give_up(folder)


if __name__ == "__main__":
    main()
