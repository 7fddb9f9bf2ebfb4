"""P3, P4 and P6: commands through both tiers of the gateway, against conditional batches alone."""

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

from bank.v1.account_pb2 import DepositRequest, OpenAccountRequest
from bench.calls import Caller
from bench.report import Found, Line
from bench.rounds import Half, Measured, interleave
from bench.stack.goals import P3, P4, P4S, P6
from bench.stack.ground import Ground

OPEN = "/bank.v1.AccountCommands/OpenAccount"
DEPOSIT = "/bank.v1.AccountCommands/Deposit"
IN_FLIGHT = 128
HOT_IN_FLIGHT = 64
COMMANDS = 3_000
LONE_COMMANDS = 200
RAW_APPENDS = 3_000
HOT_COMMANDS = 2_000
LONE_ROUNDS = 5
MILLISECONDS = 1_000

_numbers = itertools.count(1)


def distinct_streams(ground: Ground) -> list[Found]:
    """Measures P4, or P4s on one node: every command starts a stream, and all is projected."""
    with Caller(ground.address) as caller:
        halves: dict[str, Callable[[], Half]] = {
            "bulk": lambda: caller.bulk(_openings(COMMANDS), message_commands=32, in_flight=512),
            "unary": lambda: caller.unary(OPEN, _openings(COMMANDS), IN_FLIGHT),
            "raw": lambda: ground.raw.distinct(RAW_APPENDS, IN_FLIGHT),
        }
        for warm in halves.values():
            warm()
        rounds = interleave(halves)
    goal = P4S if ground.nodes == 1 else P4
    setting = f"{_nodes(ground)}, sequencer and 3 views running"
    return [
        Line(goal, rounds.over("bulk", "raw"), f"{setting}; bulk stream, 512 in flight"),
        Line(goal, rounds.over("unary", "raw"), f"{setting}; {IN_FLIGHT} calls in flight"),
    ]


def lone_commands(ground: Ground) -> list[Found]:
    """Measures P3: one command at a time, against one raw append at a time."""
    with Caller(ground.address) as caller:
        account = _opened(caller)
        for _ in range(LONE_ROUNDS):
            # The servers compile what they do often; a lone command is not often.
            ground.raw.one_stream_median(LONE_COMMANDS)
            _median(caller, account)
        ours, raw = [], []
        for _ in range(LONE_ROUNDS):
            raw.append(ground.raw.one_stream_median(LONE_COMMANDS))
            ours.append(_median(caller, account))
    added = tuple((o - r) * MILLISECONDS for o, r in zip(ours, raw, strict=True))
    mine, theirs = (tuple(x * MILLISECONDS for x in times) for times in (ours, raw))
    setting = f"{_nodes(ground)}, one stream"
    return [Line(P3, Measured(added, mine, theirs, noisy=False), setting, unit=" ms")]


def hot_stream(ground: Ground) -> list[Found]:
    """Measures P6: many commands wait for one stream, against one raw append at a time."""
    with Caller(ground.address) as caller:
        account = _opened(caller)
        rounds = interleave(
            {
                "ours": lambda: caller.unary(
                    DEPOSIT, _deposits(account, HOT_COMMANDS), HOT_IN_FLIGHT
                ),
                "bulk": lambda: caller.bulk(
                    _deposits(account, HOT_COMMANDS), message_commands=16, in_flight=HOT_IN_FLIGHT
                ),
                "raw": lambda: ground.raw.one_stream(LONE_COMMANDS),
            }
        )
    setting = f"{_nodes(ground)}, through both tiers"
    return [
        Line(P6, rounds.over("bulk", "raw"), f"{setting}; bulk stream"),
        Line(P6, rounds.over("ours", "raw"), f"{setting}; a call for each command"),
    ]


def _median(caller: Caller, account: str) -> float:
    """Returns the median seconds of one command at a time."""
    took = []
    for deposit in _deposits(account, LONE_COMMANDS):
        began = time.perf_counter()
        half: Half = caller.unary(DEPOSIT, [deposit], 1)
        assert half.stored == 1
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _opened(caller: Caller) -> str:
    (opening,) = _openings(1)
    caller.unary(OPEN, [opening], 1)
    account: str = opening.account_id
    return account


def _openings(count: int) -> list[Any]:
    accounts = [f"new-{time.time_ns()}-{number}" for number in itertools.islice(_numbers, count)]
    requests = [OpenAccountRequest(account_id=account, owner="Ann") for account in accounts]
    for request in requests:
        request.header.command_id = f"open-{request.account_id}"
    return requests


def _deposits(account: str, count: int) -> list[Any]:
    requests = [DepositRequest(account_id=account, amount_cents=100) for _ in range(count)]
    for request, number in zip(requests, itertools.islice(_numbers, count), strict=True):
        request.header.command_id = f"pay-{time.time_ns()}-{number}"
    return requests


def _nodes(ground: Ground) -> str:
    nodes = "one node" if ground.nodes == 1 else f"{ground.nodes} nodes, RF {ground.nodes}"
    return f"{nodes}, periodic commit log"
