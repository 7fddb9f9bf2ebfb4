"""What is shown: the pure functions that fold events into the rows of one view."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

Row = TypeVar("Row", bound=Message)

KeyValue = str | bytes | int | bool
Key = tuple[KeyValue, ...]


class ViewEvent(NamedTuple):
    """An event as a view sees it.

    Attributes:
        data: The payload, a message of the domain. Must not be changed.
        stream: The stream that holds it, `category/id`.
        stream_version: Its place there, from 1.
        append_time_us: When it was stored, in microseconds since 1970 UTC.
    """

    data: Any
    stream: str
    stream_version: int
    append_time_us: int


Keys = Callable[[ViewEvent], Iterable[Key]]
Apply = Callable[[Any, ViewEvent], Any]
Merge = Callable[[Sequence[Any]], Any]


class Folding(NamedTuple):
    """How a view folds one type of event.

    Attributes:
        keys: `keys(event)`: the whole keys of the rows that the event touches, each a tuple in the
            order of `partition_by` and `order_by`. Empty means none.
        apply: `apply(row, event) -> row | None`: the row after the event. The row is given away: it
            may be changed and returned. A row that does not exist comes in new, with its key fields
            set. None deletes the row. Raising parks the key.
    """

    keys: Keys
    apply: Apply


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Generic[Row]):
    """One version of the code of one view.

    Attributes:
        row: The message class of the rows, with the `view` option. Its full name is the view's.
        foldings: By class of event.
        merge: `merge(rows) -> row`, for rows that several streams feed: makes one row of the
            partial rows of the log partitions (one or more, in any order, never changed by it).
            None declares that each row is fed by one stream only.
        version: The version of this code, from 1. Raise it when it folds differently; a domain may
            list several versions of a view, so that an old one goes on while a new one is built.
    """

    row: type[Row]
    foldings: Mapping[type[Message], Folding]
    merge: Merge | None = None
    version: int = 1

    @property
    def name(self) -> str:
        """The view's name: the full name of the row message."""
        return self.row.DESCRIPTOR.full_name
