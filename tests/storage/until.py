"""Waiting for a condition, with a limit."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Lets the loop run until the condition holds; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 # the condition is any function, not an event
            await asyncio.sleep(0.001)


async def settled(turns: int = 20) -> None:
    """Lets everything run that can run without waiting for anything outside."""
    for _ in range(turns):
        await asyncio.sleep(0)
