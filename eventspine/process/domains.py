"""Finds the domains to host, each named as `module:ATTRIBUTE`."""

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from eventspine.domain.domain import Domain

SHIPPED = ("domains.bank.domain:BANK", "domains.flights.domain:FLIGHTS")
"""The domains that ship with the platform."""


class DomainNotFoundError(Exception):
    """A named domain cannot be imported, or is no domain; the text says which and why."""


def find_domains(names: Sequence[str]) -> list[Domain]:
    """Returns the named domains, in order.

    Args:
        names: Each `module:ATTRIBUTE`, importable from the current folder or the environment.

    Raises:
        DomainNotFoundError: A name does not lead to a `Domain`.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    return [_find(name) for name in names]


def _find(name: str) -> Domain:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise DomainNotFoundError(f"{name!r} is not module:ATTRIBUTE, such as shop.domain:SHOP")
    try:
        module = importlib.import_module(module_name)
    # Importing runs the author's code, which may fail in any way.
    except Exception as error:
        raise DomainNotFoundError(
            f"cannot import {module_name!r} for {name!r}: {_place(error)}{_cure(error)}"
        ) from error
    if not hasattr(module, attribute):
        raise DomainNotFoundError(f"{module_name!r} has no {attribute!r}")
    found = getattr(module, attribute)
    if not isinstance(found, Domain):
        raise DomainNotFoundError(f"{name!r} is of class {type(found).__name__}, not a Domain")
    return found


def _place(error: Exception) -> str:
    """Says what went wrong, and in which file and line, where those are of the author's code."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    # What importlib does by itself stands in no file.
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_file()]
    place = f"{frames[-1].filename}, line {frames[-1].lineno}: " if len(frames) > 2 else ""
    return f"{place}{type(error).__name__}: {error}"


def _cure(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and Path("protos", error.name or "").is_dir():
        return "; make its stubs: python -m devstack.stubs"
    return ""
