"""Runs compositions behind one host; promise: what was started ends, in the reverse order.

Streams end with SHUTTING_DOWN first and unary calls finish, then each part stops: what the service
has taken in is stored and published, and only then may the backend be closed.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from eventspine.process.composition import Composition, Part
from eventspine.rpc.host import Host


def distinct(compositions: Sequence[Composition]) -> list[Part]:
    """Returns the parts of all, in order, each once, though several need it."""
    parts: dict[int, Part] = {}
    for composition in compositions:
        for part in composition.parts:
            parts.setdefault(id(part), part)
    return [*parts.values()]


async def run_behind(
    host: Host, compositions: Sequence[Composition], ending: AsyncExitStack, grace_seconds: float
) -> None:
    """Starts the parts of compositions, and lets the host serve their methods.

    Args:
        host: Listens already.
        compositions: One or more services, on one site.
        ending: Gets what has to be done to end, in its order. The caller closes it, also after an
            error here.
        grace_seconds: How long unary calls under way may go on when it ends.

    Raises:
        StoreUnavailableError: The store cannot be read. The host does not serve.
    """
    for part in distinct(compositions):
        ending.push_async_callback(part.stop)
        await part.start()
    ending.push_async_callback(host.stop, grace_seconds)
    await host.serve([method for one in compositions for method in one.methods])
