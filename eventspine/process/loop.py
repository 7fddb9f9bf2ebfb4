"""How a serving process runs: on the fastest loop at hand, seldom stopped by the collector.

Python looks for cycles after every few hundred new objects. A process that turns thousands of
commands a second into records makes many objects and hardly a cycle, and spent a quarter of its
time looking.
"""

import asyncio
import gc

YOUNG_OBJECTS = 50_000
"""After how many new objects Python looks for cycles among them; by default 700."""

OLDER_LOOKS = 20
"""After how many of these looks it looks among older objects too; by default 10."""


def settle_collector() -> None:
    """Leaves what was imported and composed alone for good, and looks at the rest less often.

    To be called once by the process's own main function, not by a library.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, OLDER_LOOKS, OLDER_LOOKS)


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """Returns the class of uvloop's event loop; None, for Python's own, where it is not there."""
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop
