"""The conformance kit on the real stack by the ways past the load balancer."""

from typing import Any

import pytest

from devstack.conformance.suite import RULES
from devstack.edge.contract import Kind
from tests.journey.test_conformance import complaints, verdicts

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


async def test_the_stack_keeps_every_rule_through_one_tier_and_direct(platform: Any) -> None:
    """Behind both tiers it is one of the journeys' platforms."""
    command, query, admin = (platform.addresses[kind][0] for kind in Kind)
    ways = {
        "through one gateway": await verdicts(platform.edge.gateways[0].address),
        "direct": await verdicts(command, queries=query, admin=admin),
    }
    assert {way: complaints(found) for way, found in ways.items()} == {way: [] for way in ways}
    assert {len(found) for found in ways.values()} == {len(RULES)}
