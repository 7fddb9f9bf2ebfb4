"""P1, P2, P13 and P21: what both tiers of Envoy cost, and what our services cost behind them.

D1 is a bare typed `grpc.aio` server behind tiers of the same configuration.
"""

import asyncio
import os
import pickle
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty

from bench.accounts import ACCOUNTS, deposits, openings
from bench.calls import BULK_MESSAGE, DEPOSIT, Caller
from bench.calls import IN_FLIGHT as BULK_IN_FLIGHT
from bench.children import Child
from bench.embedded import EmbeddedBank
from bench.goals import P1, P2, P13, P21_EVENT, P21_TIER
from bench.report import Found, Line
from bench.rounds import Half, Measured, interleave
from bench.streams import BATCH_RECORDS, HISTORY_EVENTS, SUBSCRIBE, Reader
from devstack.edge.contract import Kind, descriptor_set
from devstack.edge.process import EnvoyProcess
from devstack.edge.tiers import Edge
from eventspine.process.domains import SHIPPED, find_domains
from eventspine.v1.subscription_pb2 import SubscribeRequest

CALLS = 2_000
BULK_COMMANDS = 10_000
LONE_CALLS = 300
IN_FLIGHT = 32
ROUNDS = 5
MILLISECONDS = 1_000
MICROSECONDS = 1_000_000


def through_envoy(folder: Path) -> list[Found]:
    """Measures all of them on one platform."""
    path, ready = folder / "edge.db", folder / "ready.pickle"
    with EmbeddedBank(path, in_flight=1_000, follow=False) as bank:
        bank.execute(HISTORY_EVENTS - ACCOUNTS)
    request = SubscribeRequest(beginning=Empty(), batch_records_max=BATCH_RECORDS)
    with ExitStack() as stack:
        platform = stack.enter_context(Child("platform", path))
        with Reader(platform.address) as reader:
            messages = reader.read(SUBSCRIBE, request, records=HISTORY_EVENTS)
        ready.write_bytes(pickle.dumps(messages))
        typed = stack.enter_context(Child("typed", ready))
        ours = stack.enter_context(_fronted(folder / "ours", platform.address))
        raw = stack.enter_context(_fronted(folder / "raw", typed.address))
        return [
            *_calls(platform, ours, typed, raw),
            *_tiers(typed, raw),
            *_streams(ours, raw, request, len(messages)),
        ]


def _calls(ours: Child, our_edge: Edge, raw: Child, raw_edge: Edge) -> list[Found]:
    with Caller(our_edge.address) as caller, Caller(raw_edge.address) as other:
        caller.unary(DEPOSIT, _dry(CALLS), IN_FLIGHT)
        other.unary(DEPOSIT, _dry(CALLS), IN_FLIGHT)
        many = interleave(
            {
                "ours": lambda: _cpu(ours, our_edge, lambda: _many(caller)),
                "bulk": lambda: _cpu(ours, our_edge, lambda: _bulk(caller)),
                "raw": lambda: _cpu(raw, raw_edge, lambda: _many(other)),
            }
        )
        one = interleave({"ours": lambda: _lone(caller), "raw": lambda: _lone(other)})
    setting = "a dry run of a deposit, both tiers"
    calls = f"{setting}, a call for each, {IN_FLIGHT} in flight"
    bulk = f"{setting}, bulk stream, {BULK_IN_FLIGHT} in flight, {BULK_MESSAGE} a message"
    return [
        Line(P1, many.over("bulk", "raw", cost=True), bulk, "/CPU s"),
        Line(P1, many.over("ours", "raw", cost=True), calls, "/CPU s"),
        Line(P2, one.over("ours", "raw", cost=True), f"{setting}, 1 in flight"),
    ]


def _tiers(raw: Child, edge: Edge) -> list[Found]:
    """What each tier adds to the median of one call at a time."""
    places = (raw.address, edge.gateways[0].address, edge.address)
    with ExitStack() as stack:
        callers = [stack.enter_context(Caller(address)) for address in places]
        rounds: list[list[float]] = [[_median(caller) for caller in callers] for _ in range(ROUNDS)]
    found: list[Found] = []
    for place, tier in ((1, "the gateway"), (2, "the load balancer before it")):
        before, after = ([median[at] for median in rounds] for at in (place - 1, place))
        added = tuple((a - b) * MILLISECONDS for a, b in zip(after, before, strict=True))
        mine, theirs = (tuple(x * MILLISECONDS for x in times) for times in (after, before))
        found.append(Line(P21_TIER, Measured(added, mine, theirs, noisy=False), tier, " ms"))
    return found


def _streams(ours: Edge, raw: Edge, request: SubscribeRequest, messages: int) -> list[Found]:
    cpu: list[float] = []

    def timed_raw() -> Half:
        began = _envoys(raw)
        half = other.timed(SUBSCRIBE, request, messages)
        cpu.append((_envoys(raw) - began) / HISTORY_EVENTS * MICROSECONDS)
        return half

    with Reader(ours.address) as reader, Reader(raw.address) as other:
        rounds = interleave(
            {"ours": lambda: reader.timed(SUBSCRIBE, request, messages), "raw": timed_raw}
        )
    setting = f"{HISTORY_EVENTS} events from the file, {BATCH_RECORDS} a message, both tiers"
    costs = Measured(tuple(cpu), tuple(cpu), tuple(cpu), rounds.noisy)
    return [
        Line(P13, rounds.over("ours", "raw"), setting),
        Line(P21_EVENT, costs, f"{BATCH_RECORDS} events a message, both tiers", " us"),
    ]


def _dry(count: int) -> list[Any]:
    requests = deposits(count)
    for request in requests:
        request.header.dry_run = True
    return requests


def _many(caller: Caller) -> Half:
    return caller.unary(DEPOSIT, _dry(CALLS), IN_FLIGHT)


def _bulk(caller: Caller) -> Half:
    requests = _dry(BULK_COMMANDS)
    return caller.bulk(requests, message_commands=BULK_MESSAGE, in_flight=BULK_IN_FLIGHT)


def _cpu(server: Child, edge: Edge, work: Callable[[], Half]) -> Half:
    """Runs commands; the seconds are those of the processor, of the service and both tiers."""
    began = server.cpu_seconds() + _envoys(edge)
    half = work()
    return half._replace(seconds=server.cpu_seconds() + _envoys(edge) - began)


def _lone(caller: Caller) -> Half:
    return Half(LONE_CALLS, _median(caller) * LONE_CALLS, LONE_CALLS)


def _median(caller: Caller) -> float:
    """Returns the median seconds of one call at a time."""
    took = []
    for deposit in _dry(LONE_CALLS):
        began = time.perf_counter()
        assert caller.unary(DEPOSIT, [deposit], 1).stored == 1
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _envoys(edge: Edge) -> float:
    return sum(map(_cpu_seconds, (*edge.gateways, edge.load_balancer)))


def _cpu_seconds(process: EnvoyProcess) -> float:
    """Returns the processor time of a process, of its user and system parts."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _fronted(folder: Path, service: str) -> Iterator[Edge]:
    """Both tiers in front of a server that answers everything."""
    protos = [proto for domain in find_domains(SHIPPED) for proto in domain.protos]
    edge = Edge(descriptor_set(protos), dict.fromkeys(Kind, (service,)), folder)
    with asyncio.Runner() as runner:
        runner.run(edge.__aenter__())
        try:
            with Caller(edge.address) as caller:
                caller.unary("/bank.v1.AccountCommands/OpenAccount", openings(1), 1)
            yield edge
        finally:
            runner.run(edge.__aexit__(None, None, None))
