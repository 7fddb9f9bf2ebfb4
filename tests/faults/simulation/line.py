"""The way from a process to a server; promise: what can befall a request befalls it here.

A request can be refused, get lost, be applied and its answer lost, or be applied long after its
sender has given up. Its sender can die before and after each of these.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from eventspine.storage.errors import (
    LogMovedError,
    OutcomeUnknownError,
    ProgressMovedError,
    StoreUnavailableError,
)
from tests.faults.simulation.clock import Tasks
from tests.faults.simulation.faults import Faults

_Result = TypeVar("_Result")

Work = Callable[[], Coroutine[Any, Any, _Result]]

TIMEOUT_SECONDS = 1.0
"""How long a process waits for an answer that does not come."""

LATE_SECONDS_MAX = 9.0
"""How long after its sending a request can still be applied."""


class Line:
    """The requests of one process.

    Attributes:
        name: The process.
        dead: Whether it has died: nothing goes out any more.
        tasks: All of its tasks.
        leaving: What others do when it has died.
    """

    def __init__(self, name: str, faults: Faults) -> None:
        """A process that lives."""
        self.name = name
        self.faults = faults
        self._crash = f"{name.partition(' ')[0]} crash"
        self.dead = False
        self.tasks: Tasks = []
        self.leaving: list[Callable[[], None]] = []

    def check(self) -> None:
        """Lets only a living process go on."""
        if self.dead:
            raise asyncio.CancelledError

    def die(self) -> None:
        """Ends the process where it stands. Nothing of it runs any more."""
        if self.dead:
            return
        self.dead = True
        self.faults.tell(f"{self.name} has died")
        for task in self.tasks:
            task.cancel()
        for leave in self.leaving:
            leave()

    async def ask(self, what: str, work: Work[_Result]) -> _Result:
        """Reads something."""
        faults = self.faults
        self.check()
        self._may_die(what)
        await self._travel(what)
        if faults.strikes("unavailable", f"{self.name} {what}"):
            raise StoreUnavailableError(f"{what}: no answer", cause="simulated")
        answer = await work()
        self._may_die(what)
        return answer

    async def change(self, what: str, work: Work[_Result]) -> _Result:
        """Writes something."""
        faults, label = self.faults, f"{self.name} {what}"
        self.check()
        self._may_die(what)
        await self._travel(what)
        if faults.strikes("unavailable", label):
            raise StoreUnavailableError(f"{what}: refused", cause="simulated")
        if faults.strikes("lost before", label):
            await self._no_answer(what)
        if faults.strikes("applied late", label):
            asyncio.get_running_loop().call_later(
                faults.between(TIMEOUT_SECONDS, LATE_SECONDS_MAX), self._apply_late, what, work
            )
            await self._no_answer(what)
        answer = await work()
        faults.tell(f"{label}: {_short(answer)}")
        self._may_die(what)
        if faults.strikes("lost after", label):
            await self._no_answer(what)
        await asyncio.sleep(faults.travel())
        self.check()
        return answer

    def _apply_late(self, what: str, work: Work[Any]) -> None:
        self.faults.tell(f"{self.name} {what} is applied late")
        apply(work)

    async def _travel(self, what: str) -> None:
        slow = self.faults.strikes("slow", f"{self.name} {what}")
        await asyncio.sleep(self.faults.between(1.0, 6.0) if slow else self.faults.travel())
        self.check()

    async def _no_answer(self, what: str) -> None:
        await asyncio.sleep(TIMEOUT_SECONDS)
        self.check()
        raise OutcomeUnknownError(f"{what}: no answer came")

    def _may_die(self, what: str) -> None:
        if self.faults.strikes(self._crash, f"{self.name} at {what}"):
            self.die()
            raise asyncio.CancelledError


def apply(work: Work[Any]) -> None:
    """Lets a server do something that nobody waits for; what it refuses is refused."""
    step = work()
    with suppress(StopIteration, LogMovedError, ProgressMovedError):
        step.send(None)
        raise AssertionError("a server waited")


def _short(answer: object) -> str:
    return repr(answer)[:160]
