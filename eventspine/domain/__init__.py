"""The kit of a domain author: declare aggregates and views, test them; pure, no I/O."""

from eventspine.domain.aggregate import Aggregate
from eventspine.domain.domain import Domain
from eventspine.domain.errors import DeclarationError, RefusalError
from eventspine.domain.given import check_aggregate, check_view, given, happened
from eventspine.domain.refusal import refuse
from eventspine.domain.view import Folding, Key, View, ViewEvent

__all__ = [
    "Aggregate",
    "DeclarationError",
    "Domain",
    "Folding",
    "Key",
    "RefusalError",
    "View",
    "ViewEvent",
    "check_aggregate",
    "check_view",
    "given",
    "happened",
    "refuse",
]
