"""Step 6: parked keys, tried again; promise: their events are applied in order, or go on waiting.

A key's waiting events are read from the log again and folded into its row as if they came now; the
log is searched for those that wait behind the last one remembered. An event whose keys could not be
known waits without a key; by the time that they are known, its rows may hold later events. Then it
cannot be folded in order any more and goes on waiting, and the text says that the view has to be
built anew.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from eventspine.domain.fold import Touched, keys_of
from eventspine.storage.keys import decode_key
from eventspine.storage.ports import EventLog
from eventspine.storage.records import LogEntry
from processor_svc.decode import classes_of, decode
from processor_svc.rows import NO_KEY, BuildRows, Misfit, misfits
from processor_svc.turn import Projector

READ_MAX = 500
"""How many entries of the log are read at once; waiting ones as close as that share a read."""

FOLD_MAX = 2_000
"""About how many waiting events are folded at once, however many keys they wait on."""

TOO_LATE = "its rows hold later events by now; build the view anew and switch"


async def retry(
    rows: BuildRows, keys: Iterable[bytes], log: EventLog, projector: Projector
) -> None:
    """Folds what waits on parked keys of a borrowed build, and saves it; some may stay parked.

    Raises:
        StoreUnavailableError: Some keys are parked as before, others were folded and saved.
    """
    together: list[bytes] = []
    waiting = 0
    for key in keys:
        if key == NO_KEY:
            await _retry_unkeyed(rows, log, projector)
        elif rows.is_full(key):
            await _retry_full(rows, key, log, projector)
        else:
            together.append(key)
            waiting += len(rows.waiting(key))
            if waiting >= FOLD_MAX:
                await _retry_some(rows, together, log, projector)
                together, waiting = [], 0
    if together:
        await _retry_some(rows, together, log, projector)


async def _retry_some(
    rows: BuildRows, keys: Iterable[bytes], log: EventLog, projector: Projector
) -> None:
    """Folds what waits on several keys, all of which is remembered."""
    waiting = {key: rows.release(key) for key in keys}
    entries = await _entries(log, rows.partition, sorted({*chain(*waiting.values())}))
    await _fold(rows, waiting, _look(rows, entries), projector)
    await projector.save([rows])


async def _retry_full(rows: BuildRows, key: bytes, log: EventLog, projector: Projector) -> None:
    """Folds what waits on a key, and what the log has of it behind what is remembered."""
    listed = rows.release(key)
    entries = await _entries(log, rows.partition, listed)
    await _fold(rows, {key: listed}, _look(rows, entries), projector)
    unkeyed, after = set(rows.waiting(NO_KEY)), listed[-1]
    while after < rows.reached and not rows.is_full(key):
        limit = min(FOLD_MAX, rows.reached - after)
        entries = await log.read(rows.partition, after=after, limit=limit)
        page = _look(rows, entries)
        touching = {entry.sequence for entry in page.touched.get(decode_key(key), ())}
        # What has no key any more may have waited on this one, and is not passed over.
        touching.update(misfit.sequence for misfit in page.unfit)
        later = sorted(touching - unkeyed)
        if not rows.is_parked(key):
            await _fold(rows, {key: later}, page, projector)
        else:
            for sequence in later:
                rows.wait(key, sequence)
        after = entries[-1].sequence
    await projector.save([rows])


async def _retry_unkeyed(rows: BuildRows, log: EventLog, projector: Projector) -> None:
    """Folds what waits without a key, as far as all of it is remembered."""
    if rows.is_full(NO_KEY):
        return
    page = _look(rows, await _entries(log, rows.partition, rows.release(NO_KEY)))
    await _fold_unkeyed(rows, projector, page.touched, page.unfit)
    await projector.save([rows])


class _Page(NamedTuple):
    """What the view says of entries of the log: which rows they touch, and of which it cannot."""

    touched: Touched
    unfit: Sequence[Misfit]


def _look(rows: BuildRows, entries: Sequence[LogEntry]) -> _Page:
    batch = decode(entries, classes_of([rows.view]))
    keyed = keys_of(rows.view, batch.events)
    return _Page(keyed.touched, misfits(rows.view, batch, keyed))


async def _fold(
    rows: BuildRows, waiting: Mapping[bytes, Sequence[int]], page: _Page, projector: Projector
) -> None:
    """Folds events into the rows whose keys they waited on.

    The first event of a key that has no key any more parks it again, as one does that cannot be
    applied; what comes behind it waits.
    """
    unfit = {misfit.sequence: misfit for misfit in page.unfit}
    first = {
        key: next((unfit[one] for one in sequences if one in unfit), None)
        for key, sequences in waiting.items()
    }
    mine: Touched = {}
    for key, sequences in waiting.items():
        misfit, values = first[key], decode_key(key)
        own = {one for one in sequences if misfit is None or one < misfit.sequence}
        if touching := [e for e in page.touched.get(values, ()) if e.sequence in own]:
            mine[values] = touching
    await projector.load([(rows, mine)])
    rows.fold(mine, rows.reached)
    for key, misfit in first.items():
        if misfit is not None:
            rows.park(key, misfit)
            for sequence in waiting[key]:
                if sequence > misfit.sequence:
                    rows.wait(key, sequence)


async def _fold_unkeyed(
    rows: BuildRows, projector: Projector, touched: Touched, unfit: Iterable[Misfit]
) -> None:
    """Folds events into all rows that they touch, but for those that came too late."""
    await projector.load([(rows, touched)])
    late = rows.late(touched)
    rows.fold(_without(touched, late), rows.reached)
    for misfit in unfit:
        rows.park(NO_KEY, misfit)
    for sequence, event in sorted(late.values()):
        rows.park(NO_KEY, Misfit(sequence, event.stream, event.stream_version, TOO_LATE))


def _without(touched: Touched, sequences: Container[int]) -> Touched:
    """Leaves entries out."""
    kept = {
        key: [entry for entry in entries if entry.sequence not in sequences]
        for key, entries in touched.items()
    }
    return {key: entries for key, entries in kept.items() if entries}


async def _entries(log: EventLog, partition: int, sequences: Sequence[int]) -> list[LogEntry]:
    """Reads single entries, those close together at once."""
    wanted, entries, reached = set(sequences), list[LogEntry](), 0
    for sequence in sequences:
        if sequence > reached:
            page = await log.read(partition, after=sequence - 1, limit=READ_MAX)
            entries += [entry for entry in page if entry.sequence in wanted]
            reached = sequence - 1 + len(page)
    return entries
