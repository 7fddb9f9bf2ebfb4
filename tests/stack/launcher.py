"""A launcher in a process of its own, of a child that only listens; tests kill it.

It is called with the state folder, or with nothing for one that is thrown away, and prints the
folder and the process id of the child.
"""

import asyncio
import sys
from pathlib import Path

from devstack.stack.child import Child
from devstack.stack.home import Home
from tests.stack.child_programs import LISTENS, spec_of


async def main() -> None:
    home = Home.open(Path(sys.argv[1])) if len(sys.argv) > 1 else Home.throw_away()
    home.guard()
    child = Child(spec_of(LISTENS, home.room("child")), home.note)
    child.start()
    await child.wait_ready()
    sys.stdout.write(f"{home.folder}\n{child.pid}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
