"""Step 6, pure: folds a batch of one log partition into rows; promise: duplicates change nothing.

`keys_of` asks the view which rows each event touches and gathers the events of each row; the caller
loads those rows; `fold` applies the events key by key. A key whose event cannot be applied is
parked: its row stays as it was just before that event, its later events wait, and all other keys go
on.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from eventspine.domain.options import key_fields
from eventspine.domain.view import Folding, Key, View, ViewEvent

KEY_LENGTH_MAX = 8_000
"""How many characters and bytes a key may have; Cassandra takes keys up to 64 KiB."""

_LIMITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class FoldEntry(NamedTuple):
    """An event at its place in the log partition that is folded."""

    sequence: int
    event: ViewEvent


Touched = dict[Key, list[FoldEntry]]
"""By key of a row, the entries that touch it, one or more, in ascending sequence."""


class KeyFailure(NamedTuple):
    """An entry whose `keys` function raised, or returned what is no key; it touches no row."""

    entry: FoldEntry
    error: str


class Keyed(NamedTuple):
    """What `keys_of` found; entries that touch no row are left out."""

    touched: Touched
    failures: list[KeyFailure]


class Failure(NamedTuple):
    """An event that could not be applied to a row: the row's key is to be parked.

    Attributes:
        key: The key of the row.
        sequence: The event's place in the log partition.
        stream: The event's stream.
        stream_version: The event's place there.
        error: What went wrong, for people.
    """

    key: Key
    sequence: int
    stream: str
    stream_version: int
    error: str


class Folded(NamedTuple):
    """What a batch has changed.

    Attributes:
        rows: The changed rows by key; None for a deleted one. A key without a new event that could
            be applied is not in it.
        last_sequence: By the same keys, the last sequence folded into the row.
        failures: One for each key newly parked.
        waiting: The later events of newly parked keys, and all new ones of keys that were parked
            before, in ascending sequence per key. The failed event itself is not among them.
    """

    rows: dict[Key, Any]
    last_sequence: dict[Key, int]
    failures: list[Failure]
    waiting: list[tuple[Key, int]]


_Progress = tuple[Any, int, str | None]
"""The row, how many events of its key were applied, and an error unless all were."""


class _KeyShape(NamedTuple):
    """The key of a row message: names and Python types of its fields, the limits of integers."""

    names: tuple[str, ...]
    kinds: tuple[type, ...]
    limits: tuple[tuple[int, int, int], ...]


def new_row(row_class: type[Message], key: Key) -> Any:
    """Returns a new row with its key fields set. The key must have passed `check_key`."""
    row = row_class()
    for name, value in zip(_key_shape(row_class.DESCRIPTOR).names, key, strict=True):
        setattr(row, name, value)
    return row


def check_key(row_class: type[Message], key: object) -> None:
    """Checks that a value is a whole key of a row.

    Raises:
        TypeError: It is no tuple, has another length, or a value of another type than its field.
        ValueError: A value is outside of its field's range, or is no UTF-8 text; or the texts and
            bytes of the key are longer than `KEY_LENGTH_MAX` together.
    """
    _check_key(row_class, _key_shape(row_class.DESCRIPTOR), key)


def _check_key(row_class: type[Message], shape: _KeyShape, key: object) -> None:
    names, kinds, limits = shape
    if type(key) is not tuple or tuple(map(type, key)) != kinds:
        fields = ", ".join(f"{n}: {k.__name__}" for n, k in zip(names, kinds, strict=True))
        raise TypeError(f"{key!r} is no key of {row_class.DESCRIPTOR.full_name}; need ({fields})")
    for index, minimum, maximum in limits:
        if not minimum <= key[index] <= maximum:
            name = f"{row_class.DESCRIPTOR.full_name}.{names[index]}"
            raise ValueError(f"{key[index]} in a key is outside of the range of {name}")
    length = 0
    for value in key:
        if type(value) is str or type(value) is bytes:
            length += len(value)
            if type(value) is str and not value.isascii():
                value.encode()
    if length > KEY_LENGTH_MAX:
        raise ValueError(f"a key of {row_class.DESCRIPTOR.full_name} is longer than it may be")


@lru_cache(maxsize=1024)
def _key_shape(row: Descriptor) -> _KeyShape:
    fields = key_fields(row)
    limits = []
    for index, field in enumerate(fields):
        if field.cpp_type in _LIMITS:
            limits.append((index, *_LIMITS[field.cpp_type]))
    names = tuple(field.name for field in fields)
    # Protobuf itself would take True for 1, and a key must have one form only.
    return _KeyShape(names, tuple(type(field.default_value) for field in fields), tuple(limits))


def keys_of(
    view: View[Any], entries: Iterable[FoldEntry], known: Container[Key] = frozenset()
) -> Keyed:
    """Asks the view for the keys of every entry of a type that it folds.

    Args:
        view: The view's code.
        entries: The batch, in ascending sequence. Types that the view does not fold are left out.
        known: Keys that were checked in an earlier batch.

    Returns:
        The entries by the rows that they touch, and those whose keys cannot be known.
    """
    touched: Touched = {}
    failures: list[KeyFailure] = []
    folding_of, shape = view.foldings.get, _key_shape(view.row.DESCRIPTOR)
    for entry in entries:
        event = entry[1]
        folding = folding_of(type(event.data))
        if folding is None:
            continue
        try:
            for key in folding[0](event):
                group = touched.get(key)
                if group is None:
                    if key not in known:
                        _check_key(view.row, shape, key)
                    touched[key] = [entry]
                elif entry[0] > group[-1][0]:
                    # Otherwise the event names the key twice, or has come twice.
                    group.append(entry)
        except Exception as error:
            _take_back(touched, entry)
            failures.append(KeyFailure(entry, words_of(error)))
    return Keyed(touched, failures)


def _take_back(touched: Touched, entry: FoldEntry) -> None:
    """Leaves out the last entry, of which a later key turned out to be none."""
    for key in [key for key, group in touched.items() if group[-1] is entry]:
        touched[key].pop()
        if not touched[key]:
            del touched[key]


def fold(
    view: View[Any],
    row_class: type[Message],
    touched: Touched,
    rows: Mapping[Key, Any],
    seen: Mapping[Key, int],
    parked: AbstractSet[Key],
) -> Folded:
    """Applies a batch to rows, key by key, in ascending sequence.

    Args:
        view: The view's code.
        row_class: The class of its rows.
        touched: The batch by key.
        rows: The rows that exist, by key; a missing key and None both mean that there is no row.
            They are never changed.
        seen: By key, the last sequence folded into the row, also into one deleted since; missing
            means none. Entries up to it change nothing.
        parked: The keys whose events have to wait.

    Returns:
        What has changed.
    """
    folded = Folded({}, {}, [], [])
    for key, entries in touched.items():
        last = seen.get(key, 0)
        if entries[0][0] <= last:
            entries = [entry for entry in entries if entry[0] > last]
            if not entries:
                continue
        if parked and key in parked:
            folded.waiting.extend((key, entry.sequence) for entry in entries)
            continue
        row, _, error = _apply(view.foldings, row_class, key, entries, rows.get(key))
        if error is None:
            folded.rows[key] = row
            folded.last_sequence[key] = entries[-1][0]
        else:
            _fold_failing(view.foldings, row_class, key, entries, rows.get(key), folded)
    return folded


def words_of(error: Exception) -> str:
    """Returns what an exception says, with its class, for people."""
    return f"{type(error).__name__}: {error}"


def _fold_failing(
    foldings: Mapping[type[Message], Folding],
    row_class: type[Message],
    key: Key,
    entries: Sequence[FoldEntry],
    row: Any,
    folded: Folded,
) -> None:
    """Folds up to the event that cannot be applied, and parks the key with that."""
    given = row
    row, applied, error = _apply(foldings, row_class, key, entries, given)
    failure = None
    while error is not None:
        failed = entries[applied]
        event = failed.event
        failure = Failure(key, failed.sequence, event.stream, event.stream_version, error)
        # The failed apply may have changed its row, so what went before is applied once more.
        row, applied, error = _apply(foldings, row_class, key, entries[:applied], given)
    if applied:
        folded.rows[key] = row
        folded.last_sequence[key] = entries[applied - 1].sequence
    if failure is not None:
        folded.failures.append(failure)
        folded.waiting.extend((key, entry.sequence) for entry in entries[applied + 1 :])


def _apply(
    foldings: Mapping[type[Message], Folding],
    row_class: type[Message],
    key: Key,
    entries: Sequence[FoldEntry],
    row: Any,
) -> _Progress:
    applied = 0
    try:
        if row is not None:
            given, row = row, row_class()
            row.CopyFrom(given)
        for _, event in entries:
            if row is None:
                row = new_row(row_class, key)
            row = foldings[type(event.data)][1](row, event)
            if type(row) is not row_class and row is not None:
                return None, applied, f"apply returned {row!r}, not a row or None"
            applied += 1
    except Exception as error:
        return None, applied, words_of(error)
    return row, applied, None
