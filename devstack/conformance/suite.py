"""Runs the rules against an address; promise: every rule gets its verdict, and leaves data only.

What is stored begins with an id of the run's own, so that a store may be examined again and again,
also one that holds other data.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

import grpc
from grpc import aio

from devstack.conformance.caller import Caller, refusal, told
from devstack.conformance.rule import Rule
from devstack.conformance.rules import appends, commands, queries, subscriptions
from eventspine.client.client import Client
from eventspine.client.errors import CallError, call_error

RULE_SECONDS: Final = 60.0
"""How long one rule may take before it counts as broken."""

CONNECT_SECONDS: Final = 5.0

RULES: Final = (
    *(Rule("commands", check) for check in commands.RULES),
    *(Rule("append and bulk", check) for check in appends.RULES),
    *(Rule("queries", check) for check in queries.RULES),
    *(Rule("subscriptions", check) for check in subscriptions.RULES),
    *(Rule("operators", check) for check in queries.OPERATORS_RULES),
)
"""All rules, in the order in which they are examined."""


class UnreachableError(Exception):
    """Nothing answers at the address. Nothing was stored."""


class NotHostedError(Exception):
    """What answers does not host the bank domain, which the rules need. Nothing was stored."""


class Verdict(NamedTuple):
    """What was found about one rule.

    Attributes:
        part: What the rule belongs to.
        rule: The rule, as a sentence.
        kept: Whether the platform keeps it.
        found: What it did instead; empty where it keeps it.
        seconds: How long the examination took.
    """

    part: str
    rule: str
    kept: bool
    found: str
    seconds: float


async def examine(
    address: str,
    *,
    queries: str = "",
    admin: str = "",
    connect_seconds: float = CONNECT_SECONDS,
) -> AsyncIterator[Verdict]:
    """Examines the platform at an address, rule by rule.

    Args:
        address: Where it listens, `host:port`, without TLS.
        queries: Where its query service listens, if not there too.
        admin: Where operators' calls are answered, if not there too.
        connect_seconds: How long to try to reach each of them.

    Raises:
        UnreachableError: Nothing answers at one of them.
        NotHostedError: The bank domain is not hosted there.
    """
    run = uuid.uuid4().hex[:12]
    async with AsyncExitStack() as stack:

        async def reached(where: str) -> aio.Channel:
            client = await stack.enter_async_context(Client.connect(where))
            await _reach(client, where, connect_seconds)
            return client.channel

        caller = Caller(
            await reached(address),
            queries=await reached(queries) if queries else None,
            admin=await reached(admin) if admin else None,
        )
        await _find_bank(caller, f"{run}-nobody", queries or address)
        for number, rule in enumerate(RULES, 1):
            yield await judge(rule, caller, f"conformance-{run}-{number}")


async def judge(
    rule: Rule, caller: Caller, own: str, *, timeout_seconds: float = RULE_SECONDS
) -> Verdict:
    """Examines one rule.

    Args:
        rule: The rule.
        caller: A caller of the platform.
        own: The id of an account that nobody has used, with all that begin with it.
        timeout_seconds: How long it may take before the rule counts as broken.
    """
    began, found = time.monotonic(), ""
    try:
        async with asyncio.timeout(timeout_seconds):
            await rule.check(caller, own)
    except TimeoutError:
        found = f"it was not over after {timeout_seconds:g} s: an answer or a message did not come"
    except aio.AioRpcError as error:
        found = f"a call was refused that should have been answered: {_told(call_error(error))}"
    # A platform that errs may answer what the rule's own code trips over, so anything counts.
    except Exception as error:
        found = str(error) if isinstance(error, AssertionError) else f"it answered oddly: {error!r}"
    return Verdict(rule.part, rule.sentence, not found, found, time.monotonic() - began)


def _told(error: CallError) -> str:
    return f"{told(error).strip()}, {error.status.message}"


async def _reach(client: Client, address: str, seconds: float) -> None:
    try:
        await client.ready(seconds)
    except CallError:
        raise UnreachableError(
            f"nothing answers at {address}; start a platform with `eventspine dev`, or name the "
            "address of another one"
        ) from None


async def _find_bank(caller: Caller, nobody: str, address: str) -> None:
    """Asks for a balance that is not there, which only a platform with the bank domain answers."""
    error = await refusal(caller.balance(nobody))
    if error.code is grpc.StatusCode.UNIMPLEMENTED:
        raise NotHostedError(
            f"the bank domain is not hosted at {address}, and the rules are about its accounts; "
            "host bank.v1 (protos/bank/v1) there, as `eventspine dev` does"
        )
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason:
        raise UnreachableError(f"no platform answers at {address}: {_told(error)}")
