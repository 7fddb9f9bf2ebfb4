"""Checks what must hold for every view, whatever it shows.

The laws: duplicates change nothing; a replay gives the same rows; the order of events of different
streams does not matter, nor which log partitions their streams are in.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google.protobuf.message import Message

from eventspine.domain.fold import FoldEntry, fold, keys_of
from eventspine.domain.options import key_fields
from eventspine.domain.view import Key, View, ViewEvent
from eventspine.domain.wording import encoding, listing, same, sections, words

_PARTITIONS_MAX = 4

Rows = dict[Key, Any]


def rows_of(view: View[Any], events: Sequence[ViewEvent]) -> Rows:
    """Returns the rows after the events, in the order of their keys.

    Raises:
        AssertionError: An event cannot be applied, or a row is not at its key.
    """
    __tracebackhide__ = True
    return _merged(view, [_fold(view, [_numbered(events)])])


def check_view(
    view: View[Any], events: Sequence[ViewEvent], *, seed: int | None = None, rounds: int = 20
) -> Rows:
    """Checks the laws with many shuffles of the events; returns the rows.

    Args:
        view: The view.
        events: Events of several streams, in the order of the log.
        seed: Where the shuffles start. A failure prints it; pass it to see the same again.
            Absent means another one each time.
        rounds: How many shuffles to try.

    Raises:
        AssertionError: A law does not hold; the text shows the rows and the seed.
    """
    __tracebackhide__ = True
    seed = random.randrange(2**32) if seed is None else seed
    chance = random.Random(seed)
    before = [encoding(event.data) for event in events]
    if view.merge is None:
        _check_one_stream_per_key(view, events)
    rows = rows_of(view, events)
    for _ in range(rounds):
        for law, again in _shuffled(view, events, chance):
            _check_same(rows, again, f"{law}; seed={seed}")
    if [encoding(event.data) for event in events] != before:
        raise AssertionError(f"the view {view.name} changes events; seed={seed}")
    return rows


def _shuffled(
    view: View[Any], events: Sequence[ViewEvent], chance: random.Random
) -> Iterator[tuple[str, Rows]]:
    """Folds the events in other ways that must give the same rows, each with its name."""
    yield "a replay", rows_of(view, events)
    batches = list(_batches(_numbered(events), chance))
    yield "batches with duplicates", _merged(view, [_fold(view, batches)])
    order = _interleaved(events, chance)
    yield "another order of the streams", _merged(view, [_fold(view, [_numbered(order)])])
    if view.merge is not None:
        partials = [_fold(view, [_numbered(part)]) for part in _partitions(order, chance)]
        yield "streams in several log partitions", _merged(view, partials)


def _check_one_stream_per_key(view: View[Any], events: Sequence[ViewEvent]) -> None:
    __tracebackhide__ = True
    streams: dict[Key, str] = {}
    for key, entries in keys_of(view, _numbered(events)).touched.items():
        for entry in entries:
            first = streams.setdefault(key, entry.event.stream)
            if first != entry.event.stream:
                raise AssertionError(
                    f"the row {key!r} of {view.name} is fed by the streams {first} and "
                    f"{entry.event.stream}; give the view a merge, or add the stream to its key"
                )


def _check_same(rows: Rows, again: Rows, law: str) -> None:
    __tracebackhide__ = True
    differ = [key for key in {**rows, **again} if not same(rows.get(key), again.get(key))]
    if differ:
        raise AssertionError(
            sections(
                law=f"  {law}",
                rows=listing(rows.get(key) for key in differ),
                rows_now=listing(again.get(key) for key in differ),
            )
        )


def _numbered(events: Sequence[ViewEvent]) -> list[FoldEntry]:
    return [FoldEntry(sequence, event) for sequence, event in enumerate(events, start=1)]


def _batches(entries: Sequence[FoldEntry], chance: random.Random) -> Iterator[list[FoldEntry]]:
    """Cuts entries into batches that overlap and repeat entries."""
    done = 0
    while done < len(entries):
        start = chance.randint(0, done)
        done = chance.randint(done + 1, len(entries))
        yield [entry for entry in entries[start:done] for _ in range(chance.randint(1, 2))]


def _interleaved(events: Sequence[ViewEvent], chance: random.Random) -> list[ViewEvent]:
    """Shuffles the streams into each other; the order inside each stays."""
    streams: dict[str, list[ViewEvent]] = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)
    order = [event.stream for event in events]
    chance.shuffle(order)
    queues = {stream: iter(queue) for stream, queue in streams.items()}
    return [next(queues[stream]) for stream in order]


def _partitions(events: Sequence[ViewEvent], chance: random.Random) -> list[list[ViewEvent]]:
    """Splits streams over log partitions; the partitions in any order."""
    partitions: list[list[ViewEvent]] = [[] for _ in range(_PARTITIONS_MAX)]
    places: dict[str, list[ViewEvent]] = {}
    for event in events:
        if event.stream not in places:
            places[event.stream] = chance.choice(partitions)
        places[event.stream].append(event)
    return partitions


def _fold(view: View[Any], batches: Iterable[Sequence[FoldEntry]]) -> Rows:
    """Folds batches one after the other, the rows stored and read back in between."""
    __tracebackhide__ = True
    rows: Rows = {}
    seen: dict[Key, int] = {}
    for batch in batches:
        touched, key_failures = keys_of(view, batch)
        for unkeyed in key_failures:
            raise AssertionError(f"keys of {words(unkeyed.entry.event.data)}: {unkeyed.error}")
        folded = fold(view, view.row, touched, rows, seen, set())
        for failure in folded.failures:
            stream = f"{failure.stream} at version {failure.stream_version}"
            raise AssertionError(f"the row {failure.key!r}, event of {stream}: {failure.error}")
        rows |= {key: _read_back(view, key, row) for key, row in folded.rows.items()}
        seen |= folded.last_sequence
    return rows


def _merged(view: View[Any], partitions: Iterable[Rows]) -> Rows:
    __tracebackhide__ = True
    partials: dict[Key, list[Any]] = {}
    for rows in partitions:
        for key, row in rows.items():
            if row is not None:
                partials.setdefault(key, []).append(row)
    return {key: _merge(view, key, partials[key]) for key in sorted(partials)}


def _merge(view: View[Any], key: Key, partials: Sequence[Any]) -> Any:
    __tracebackhide__ = True
    if view.merge is None:
        return partials[0]
    before = [encoding(row) for row in partials]
    row = view.merge(partials)
    if [encoding(partial) for partial in partials] != before:
        raise AssertionError(f"the merge of {view.name} changes the rows that it merges")
    return _read_back(view, key, row)


def _read_back(view: View[Any], key: Key, row: Message | None) -> Any:
    __tracebackhide__ = True
    if row is None:
        return None
    fields = key_fields(view.row.DESCRIPTOR)
    if tuple(getattr(row, field.name) for field in fields) != key:
        raise AssertionError(f"the row at {key!r} has another key in it: {words(row)}")
    return view.row.FromString(row.SerializeToString())
