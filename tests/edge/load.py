"""Load on the edge: callers that wait for their answers, and callers that do not."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from grpc import aio

ANSWERED = "answered"
Call = Callable[[], Awaitable[object]]


class Load:
    """What became of many calls.

    Attributes:
        outcomes: How often each outcome came: `answered`, or the name of the status code.
    """

    def __init__(self, call: Call) -> None:
        """Makes calls by `call`, which raises AioRpcError for a failed one."""
        self.outcomes: Counter[str] = Counter()
        self._call = call

    async def one(self) -> None:
        """Makes one call and notes its outcome."""
        try:
            await self._call()
        except aio.AioRpcError as error:
            self.outcomes[error.code().name] += 1
        else:
            self.outcomes[ANSWERED] += 1

    @asynccontextmanager
    async def by_callers_who_wait(self, callers: int) -> AsyncIterator["Load"]:
        """Each caller makes its next call when the last is answered, until the end of the block."""
        ended = asyncio.Event()

        async def go_on() -> None:
            while not ended.is_set():
                await self.one()

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(go_on())
            try:
                yield self
            finally:
                ended.set()

    async def at_a_rate(self, calls_per_second: float, seconds: float) -> None:
        """Makes calls at a rate, whatever becomes of them; returns when all have ended."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        made = 0
        async with asyncio.TaskGroup() as group:
            while (passed := loop.time() - began) < seconds:
                for _ in range(int(passed * calls_per_second) - made):
                    group.create_task(self.one())
                    made += 1
                await asyncio.sleep(0.005)
