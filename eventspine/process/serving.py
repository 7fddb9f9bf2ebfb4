"""One service process from start to exit; promise: who is asked to stop loses nothing and nobody.

It listens first, and its health says NOT_SERVING until its store is open. Asked to stop, it says
NOT_SERVING again and goes on answering while load balancers notice; then streams end, calls finish,
what was taken in is stored, and the store is closed. Asked a second time, it ends at once.

Where the store was replaced by a restore, it does the same and begins again: what it knows of the
old one would be wrong of the new.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

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
from eventspine.storage.errors import BusSetupError, StackSetupError, StoreUnavailableError

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


LOOK_SECONDS = 2.0
"""How often to look whether the store is still the one that was opened."""

AGAIN_SECONDS = 1.0
"""How long to wait before a store that is being restored is opened again."""


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
    await _serve_once(plan, listening, asked)
    while not asked.is_set():
        try:
            await _serve_once(plan, listening, asked)
        except (StackSetupError, BusSetupError, StoreUnavailableError) as error:
            _log.warning("the store cannot be opened again yet: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    await asked.wait()
    _say("stopped")


async def _serve_once(plan: Plan, listening: Callable[[str], None], asked: asyncio.Event) -> None:
    """Serves one store, until the process is asked to stop or the store is another one."""
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
        backend = starting.result()
        _say(f"serves on {address}")
        listening(address)
        replaced = asyncio.create_task(_replaced(backend), name="look at the store")
        await _first(replaced, asked)
        await host.drain()
        if asked.is_set():
            _say(f"asked to stop; goes on answering for {plan.settings.drain_seconds:g} s")
            await asyncio.sleep(plan.settings.drain_seconds)
        else:
            _log.warning("the store was replaced by another one, beginning again")
        replaced.cancel()


async def _replaced(backend: Backend) -> None:
    """Returns when the store is another one than was opened."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            if not await backend.is_current():
                return
        except Exception:
            _log.exception("a defect: the store cannot be looked at, trying again")


async def _start(plan: Plan, host: Host, counts: CallCounts, ending: AsyncExitStack) -> Backend:
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
    return backend


async def _first(work: "asyncio.Task[Any]", asked: asyncio.Event) -> None:
    """Waits until some work is done or the process is asked to stop."""
    waiting = asyncio.create_task(asked.wait(), name="wait to be asked to stop")
    try:
        await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
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
