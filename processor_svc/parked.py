"""Step 6: parked keys, tried again; promise: their events are applied in order, or go on waiting.

A key's waiting events are read from the log again and folded into its row as if they came now; the
log is searched for those that wait behind the last one remembered. An event whose keys could not be
known waits without a key; by the time that they are known, its rows may hold later events. Then it
cannot be folded in order any more and goes on waiting, and the text says that the view has to be
built anew.
"""

from collections.abc import Container, Iterable, Sequence

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
"""How many waiting events are folded at once."""

TOO_LATE = "its rows hold later events by now; build the view anew and switch"


async def retry(rows: BuildRows, key: bytes, log: EventLog, projector: Projector) -> bool:
    """Folds what waits on a parked key of a borrowed build, and saves it.

    Returns:
        Whether the key is no longer parked.

    Raises:
        StoreUnavailableError: Nothing was saved; the key is parked as before.
    """
    if key == NO_KEY and rows.is_full(key):
        # Which events waited behind these, nobody knows.
        return False
    is_full = rows.is_full(key)
    listed = rows.release(key)
    await _fold_or_wait(rows, key, listed, log, projector)
    if is_full:
        await _fold_rest(rows, key, listed[-1], log, projector)
    await projector.save([rows])
    return not rows.is_parked(key)


async def _fold_rest(
    rows: BuildRows, key: bytes, after: int, log: EventLog, projector: Projector
) -> None:
    """Finds in the log what else waited on a key, until it waits on the key again, or is folded."""
    unkeyed = set(rows.waiting(NO_KEY))
    while after < rows.reached and not rows.is_full(key):
        limit = min(FOLD_MAX, rows.reached - after)
        entries = await log.read(rows.partition, after=after, limit=limit)
        batch = decode(entries, classes_of([rows.view]))
        keyed = keys_of(rows.view, batch.events)
        touching = {entry.sequence for entry in keyed.touched.get(decode_key(key), ())}
        # What has no key any more may have waited on this one, and is not passed over.
        touching.update(misfit.sequence for misfit in misfits(rows.view, batch, keyed))
        await _fold_or_wait(rows, key, sorted(touching - unkeyed), log, projector)
        after = entries[-1].sequence


async def _fold_or_wait(
    rows: BuildRows, key: bytes, sequences: Sequence[int], log: EventLog, projector: Projector
) -> None:
    """Folds events in portions, up to one that parks their key; what comes behind it waits."""
    done = 0
    # Portions keep memory bounded, however many events wait.
    while done < len(sequences) and (key == NO_KEY or not rows.is_parked(key)):
        await _fold(rows, key, sequences[done : done + FOLD_MAX], log, projector)
        done += FOLD_MAX
    for sequence in sequences[done:]:
        rows.wait(key, sequence)


async def _fold(
    rows: BuildRows, key: bytes, sequences: Sequence[int], log: EventLog, projector: Projector
) -> None:
    """Folds a portion of what waited on a key."""
    entries = await _entries(log, rows.partition, sequences)
    batch = decode(entries, classes_of([rows.view]))
    keyed = keys_of(rows.view, batch.events)
    unfit = misfits(rows.view, batch, keyed)
    if key == NO_KEY:
        await _fold_unkeyed(rows, projector, keyed.touched, unfit)
        return
    await _fold_key(rows, projector, key, keyed.touched, unfit)
    for sequence in sequences if unfit else ():
        if sequence > unfit[0].sequence:
            rows.wait(key, sequence)


async def _fold_key(
    rows: BuildRows,
    projector: Projector,
    key: bytes,
    touched: Touched,
    unfit: Sequence[Misfit],
) -> None:
    """Folds events into one row, up to the first that is unfit: that one parks the key again."""
    values = decode_key(key)
    entries = touched.get(values, [])
    if unfit:
        entries = [entry for entry in entries if entry.sequence <= unfit[0].sequence]
    mine = {values: entries} if entries else {}
    await projector.load([(rows, mine)])
    rows.fold(mine, rows.reached)
    if unfit:
        rows.park(key, unfit[0])


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
