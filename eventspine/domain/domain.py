"""A domain: its aggregates and views, which together are all that a platform hosts of it."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from eventspine.domain.aggregate import Aggregate
from eventspine.domain.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What a team hands to the platform.

    Attributes:
        name: The domain's name, for people and for `eventspine dev --domain`.
        protos: The generated modules of all its proto files; services, options and refusals are
            read from their descriptors.
        aggregates: One for each category that a command service names.
        views: Every version of every view.
    """

    name: str
    protos: tuple[ModuleType, ...]
    aggregates: tuple[Aggregate[Any], ...]
    views: tuple[View[Any], ...]
