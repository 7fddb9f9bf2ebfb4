"""One service process from start to exit; promise: who is asked to stop loses nothing and nobody.

It listens first, and its health says NOT_SERVING until its store is open. Asked to stop, it says
NOT_SERVING again and goes on answering while load balancers notice; then streams end, calls finish,
what was taken in is stored, and the store is closed. Asked a second time, it ends at once.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from eventspine.domain.declared import Declarations
from eventspine.process.composition import Composition, Part, Site, site_over, system_now_us
from eventspine.process.running import run_behind
from eventspine.process.settings import ProcessSettings
from eventspine.rpc import logs
from eventspine.rpc.figures import Figure
from eventspine.rpc.host import Host
from eventspine.rpc.observe import CallCounts
from eventspine.rpc.tls import Tls
from eventspine.storage.connect import Backend

_log = logging.getLogger("eventspine.process")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a service process is to do.

    Attributes:
        service: Its name in log lines: `command`, `processor` or `query`.
        settings: What every process is told.
        tls: The certificates to serve with; None for none.
        declarations: What is hosted.
        open_backend: Opens the store.
        compose: Puts the service together.
        metrics: Makes what answers Prometheus with some figures; None for nothing.
        now_us: The clock: microseconds since 1970 UTC.
    """

    service: str
    settings: ProcessSettings
    tls: Tls | None
    declarations: Declarations
    open_backend: Callable[[], Awaitable[Backend]]
    compose: Callable[[Site], Composition]
    metrics: Callable[[Callable[[], Iterable[Figure]]], Part] | None = None
    now_us: Callable[[], int] = system_now_us


async def serve(plan: Plan, listening: Callable[[str], None]) -> None:
    """Serves until the process is asked to stop, by SIGTERM or SIGINT.

    Args:
        plan: What to do.
        listening: Is told the address, once calls are answered.

    Raises:
        PortTakenError: The address is taken. Nothing was opened.
        StackSetupError: The store cannot be used as it is set up.
        StoreUnavailableError: The store cannot be read. All that was opened is closed again.
    """
    asked = _asked_to_stop()
    counts = CallCounts()
    host = Host(address=plan.settings.address, tls=plan.tls, counts=counts)
    async with AsyncExitStack() as ending:
        ending.push_async_callback(host.stop, 0)
        address = await host.listen()
        starting = asyncio.create_task(_start(plan, host, counts, ending), name="start")
        await _first(starting, asked)
        if not starting.done():
            _log.info("asked to stop before the start was done")
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
            return
        starting.result()
        _say(f"serves on {address}")
        listening(address)
        await asked.wait()
        await host.drain()
        _say(f"asked to stop; goes on answering for {plan.settings.drain_seconds:g} s")
        await asyncio.sleep(plan.settings.drain_seconds)
    _say("stopped")


async def _start(plan: Plan, host: Host, counts: CallCounts, ending: AsyncExitStack) -> None:
    backend = await plan.open_backend()
    ending.push_async_callback(backend.close)
    site = site_over(plan.declarations, backend, tenant=plan.settings.tenant, now_us=plan.now_us)
    composition = plan.compose(site)
    if plan.metrics is not None:

        def figures() -> Iterable[Figure]:
            yield from counts.figures()
            yield from composition.figures()

        metrics = plan.metrics(figures)
        ending.push_async_callback(metrics.stop)
        await metrics.start()
    await run_behind(host, [composition], ending, plan.settings.grace_seconds)


async def _first(starting: "asyncio.Task[None]", asked: asyncio.Event) -> None:
    """Waits until the start is done or the process is asked to stop."""
    waiting = asyncio.create_task(asked.wait(), name="wait to be asked to stop")
    try:
        await asyncio.wait((starting, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _asked_to_stop() -> asyncio.Event:
    """Returns what is set by the first signal; a second one ends the process at once."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        asked.set()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    return asked


def _say(text: str) -> None:
    logs.write(_log, logging.INFO, text)
