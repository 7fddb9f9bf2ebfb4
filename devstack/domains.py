"""Finds the domains to host: those that ship, and those named as `module:ATTRIBUTE`."""

import importlib
import sys
from collections.abc import Sequence

from eventspine.domain.domain import Domain


class DomainNotFoundError(Exception):
    """A named domain cannot be imported, or is no domain; the text says which and why."""


def shipped_domains() -> list[Domain]:
    """Returns the domains that ship with the platform."""
    from domains.bank.domain import BANK
    from domains.flights.domain import FLIGHTS

    return [BANK, FLIGHTS]


def find_domains(names: Sequence[str]) -> list[Domain]:
    """Returns the shipped domains and the named ones.

    Args:
        names: Each `module:ATTRIBUTE`, importable from the current folder or the environment.

    Raises:
        DomainNotFoundError: A name does not lead to a `Domain`.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    return shipped_domains() + [_find(name) for name in names]


def _find(name: str) -> Domain:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise DomainNotFoundError(f"{name!r} is not module:ATTRIBUTE, such as shop.domain:SHOP")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise DomainNotFoundError(f"cannot import {module_name!r} for {name!r}: {error}") from error
    except AttributeError as error:
        raise DomainNotFoundError(f"{module_name!r} has no {attribute!r}") from error
    if not isinstance(found, Domain):
        raise DomainNotFoundError(f"{name!r} is a {type(found).__name__}, not a Domain")
    return found
