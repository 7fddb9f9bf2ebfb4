"""From the partial rows of the log partitions to the one row that readers see."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from eventspine.domain.declared import ViewDeclaration
from eventspine.domain.errors import DomainDefectError
from eventspine.domain.view import View
from eventspine.storage.records import PartialRow


def code_of(declaration: ViewDeclaration, code_version: int) -> View[Any]:
    """Returns a version of a view's code; the newest for one that this process does not have."""
    versions = declaration.versions
    return versions[code_version if code_version in versions else max(versions)]


def merged(
    declaration: ViewDeclaration, partials: Sequence[PartialRow], *, code_version: int = 0
) -> Message | None:
    """Returns the row that partial rows make; None where none of them holds anything.

    Args:
        declaration: The view.
        partials: The row's partials, in any order; deleted ones count as absent.
        code_version: The version of the view's code that folded them; 0 means the newest. The
            newest also merges for a version that this process does not have.

    Raises:
        DomainDefectError: Several partials of a view without `merge`, or `merge` itself failed.
    """
    rows = [declaration.row.FromString(p.encoded) for p in partials if p.encoded is not None]
    if not rows:
        return None
    merge = code_of(declaration, code_version).merge
    if merge is None:
        if len(rows) > 1:
            raise DomainDefectError(
                f"rows of view {declaration.name} are fed by streams of several log partitions; "
                f"declare `merge` on its View"
            )
        return rows[0]
    try:
        row: Message = merge(rows)
    except Exception as error:
        raise DomainDefectError(f"`merge` of view {declaration.name} raised {error!r}") from error
    return row
