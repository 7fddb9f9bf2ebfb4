"""What is shown: the pure functions that fold events into the rows of one view."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from eventspine.v1.record_pb2 import EventRecord

Row = TypeVar("Row", bound=Message)

KeyValue = str | bytes | int | bool
Key = tuple[KeyValue, ...]


class ViewEvent:
    """An event as a view sees it.

    Attributes:
        data: The payload, a message of the domain. Must not be changed.
        record: The record that holds it, with its metadata, tenant, correlation and causation. Must
            not be changed.
    """

    # Made once for each event of the platform. Nearly all views look at `data` alone, so what they
    # seldom ask for is taken from the record then.
    __slots__ = ("data", "record")

    def __init__(self, data: Any, record: EventRecord) -> None:
        """Joins an event and the record in which it is stored."""
        self.data = data
        self.record = record

    @property
    def stream(self) -> str:
        """The stream that holds it, `category/id`."""
        return self.record.stream

    @property
    def stream_version(self) -> int:
        """Its place there, from 1."""
        return self.record.stream_version

    @property
    def append_time_us(self) -> int:
        """When it was stored, in microseconds since 1970 UTC."""
        time = self.record.append_time
        return time.seconds * 1_000_000 + time.nanos // 1_000


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
