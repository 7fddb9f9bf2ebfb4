"""What a rule of the contract is, and how one is found broken."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from devstack.conformance.caller import Caller, refusal, told
from eventspine.client.errors import CallError

Check = Callable[[Caller, str], Awaitable[None]]
"""Examines a platform. Gets a caller, and the id of an account that nobody has used; ids that begin
with it are its own too. Its name is the rule, as a sentence."""


class Rule(NamedTuple):
    """One promise of the contract.

    Attributes:
        part: What it belongs to, for example `commands`.
        check: What examines it.
    """

    part: str
    check: Check

    @property
    def sentence(self) -> str:
        """The promise, in words."""
        return self.check.__name__.replace("_", " ")


class BrokenRuleError(AssertionError):
    """The platform does not keep a rule; the text says what it did instead."""


def same(what: str, found: object, wanted: object) -> None:
    """Demands that two things are equal.

    Raises:
        BrokenRuleError: They are not.
    """
    if found != wanted:
        raise BrokenRuleError(f"{what}: wanted {_short(wanted)}, found {_short(found)}")


def holds(what: str, true: object) -> None:
    """Demands that something is so.

    Raises:
        BrokenRuleError: It is not.
    """
    if not true:
        raise BrokenRuleError(f"it does not hold that {what}")


async def refused(call: Awaitable[object], wanted: str) -> CallError:
    """Demands that a call is refused, with a code and a reason such as `NOT_FOUND ROW_NOT_FOUND`.

    Raises:
        BrokenRuleError: It is refused otherwise.
        NotRefusedError: It is answered.
    """
    error = await refusal(call)
    same("the code and reason of the refusal", told(error), wanted)
    return error


def _short(thing: object) -> str:
    text = " ".join(repr(thing).split())
    return text if len(text) <= 200 else text[:200] + "…"
