"""Answers Prometheus; promise: a scrape reads plain numbers on the loop and asks no database."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as AskTimeoutError
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from eventspine.rpc.address import split_address
from eventspine.rpc.figures import BOUNDS_SECONDS, Figure, Timings
from eventspine.rpc.host import PortTakenError

_ASK_SECONDS = 5.0


class MetricsServer:
    """Serves the figures of a process over HTTP, at any path; a `Part`."""

    def __init__(self, address: str, figures: Callable[[], Iterable[Figure]]) -> None:
        """Serves what `figures` returns, which is called on the event loop."""
        self._address = address
        self._figures = figures
        self._server: WSGIServer | None = None

    async def start(self) -> None:
        """Begins to answer.

        Raises:
            PortTakenError: Something else listens there, or the address is not of this machine.
        """
        host, port = split_address(self._address)
        registry = CollectorRegistry()
        registry.register(_LoopCollector(asyncio.get_running_loop(), self._figures))
        try:
            self._server, _ = start_http_server(port, host, registry)
        except OSError as error:
            text = f"cannot answer Prometheus on {self._address}: {error}; choose a free port"
            raise PortTakenError(text) from error

    async def stop(self) -> None:
        """Answers no more."""
        server, self._server = self._server, None
        if server is not None:
            # It waits for its thread, which may be waiting for this loop.
            await asyncio.to_thread(server.shutdown)
            server.server_close()


class _LoopCollector(Collector):
    """Reads figures on the loop, for the thread of a scrape."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, figures: Callable[[], Iterable[Figure]]
    ) -> None:
        self._loop = loop
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        """Names nothing beforehand: figures come and go."""
        return ()

    def collect(self) -> Iterable[Metric]:
        asked = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        try:
            return asked.result(_ASK_SECONDS)
        except AskTimeoutError:
            asked.cancel()
            return ()

    async def _read(self) -> list[Metric]:
        return [_metric(figure) for figure in self._figures()]


def _metric(figure: Figure) -> Metric:
    """Returns a figure as Prometheus writes it."""
    names = figure.label_names
    if figure.kind == "timings":
        histogram = HistogramMetricFamily(figure.name, figure.help, labels=names)
        for labels, timings in figure.samples.items():
            assert isinstance(timings, Timings)
            histogram.add_metric(labels, [*_buckets(timings)], timings.sum_seconds)
        return histogram
    family = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
    metric = family(figure.name, figure.help, labels=names)
    for labels, value in figure.samples.items():
        assert not isinstance(value, Timings)
        metric.add_metric(labels, value)
    return metric


def _buckets(timings: Timings) -> Iterator[tuple[str, float]]:
    """Yields the upper end of each class, and how many took no longer than that."""
    count = 0
    for bound, more in zip((*BOUNDS_SECONDS, None), timings.counts, strict=True):
        count += more
        yield ("+Inf" if bound is None else str(bound)), count
