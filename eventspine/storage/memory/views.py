"""Rows of views in memory: the reference of the ViewStore port; promise: a batch whole or not."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice

from eventspine.storage.errors import ProgressMovedError
from eventspine.storage.keys import after_prefix
from eventspine.storage.records import KeyedRow, Parked, PartialRow, ViewBatch


class MemoryViewStore:
    """A ViewStore that lives as long as the process."""

    def __init__(self, partitions: int = 1) -> None:
        """Starts empty, for a log of so many partitions."""
        self._partitions = partitions
        self._builds: dict[str, _BuildRows] = {}
        self._dropped: set[str] = set()

    async def load(
        self, build_id: str, partition: int, keys: Sequence[bytes]
    ) -> dict[bytes, PartialRow]:
        """Returns the partials of one partition that exist, by key, deleted ones included."""
        build = self._builds.get(build_id)
        if build is None:
            return {}
        rows = build.rows
        return {key: rows[key][partition] for key in keys if partition in rows.get(key, ())}

    async def save(self, batches: Sequence[ViewBatch]) -> None:
        """Saves each batch whole: rows, parked keys and progress.

        Raises:
            ProgressMovedError: A batch did not start at the build's progress, or the build is gone.
                Nothing of any batch was saved.
        """
        self._check(batches)
        for batch in batches:
            build = self._builds.get(batch.build_id)
            if build is None:
                build = self._builds[batch.build_id] = _BuildRows(self._partitions)
            build.save(batch)

    async def get(self, build_id: str, key: bytes) -> tuple[PartialRow, ...]:
        """Returns the partials of one row that exist and are not deleted; empty without a row."""
        build = self._builds.get(build_id)
        return () if build is None else build.living(key)

    def parked(self, build_id: str) -> list[Parked]:
        """Returns the parked keys of a build, in order of key and partition."""
        build = self._builds.get(build_id)
        return [] if build is None else [build.parked[place] for place in sorted(build.parked)]

    async def list(
        self, build_id: str, *, prefix: bytes = b"", after: bytes = b"", limit: int = 500
    ) -> list[KeyedRow]:
        """Reads rows whose key starts with `prefix` and is above `after`, in order of the key."""
        build = self._builds.get(build_id)
        return [] if build is None else build.list(prefix, after, limit)

    async def progress(self, build_id: str) -> tuple[int, ...]:
        """Returns the sequence that a build has passed, for each partition; 0 for not begun."""
        build = self._builds.get(build_id)
        return (0,) * self._partitions if build is None else tuple(build.progress)

    async def drop(self, build_id: str) -> None:
        """Deletes rows, progress and parked keys of a build, which can then not be saved to."""
        self._builds.pop(build_id, None)
        self._dropped.add(build_id)

    def _check(self, batches: Sequence[ViewBatch]) -> None:
        """Follows the progress through the batches, since one may start where another ends."""
        progress: dict[tuple[str, int], int] = {}
        for batch in batches:
            place = batch.build_id, batch.partition
            if place not in progress:
                build = self._builds.get(batch.build_id)
                progress[place] = 0 if build is None else build.progress[batch.partition]
            if batch.build_id in self._dropped:
                raise ProgressMovedError(f"build {batch.build_id} is gone")
            if progress[place] != batch.after:
                raise ProgressMovedError(
                    f"build {batch.build_id} has passed {progress[place]} of partition "
                    f"{batch.partition}, not {batch.after}"
                )
            progress[place] = batch.through


class _BuildRows:
    """Rows, parked keys and progress of one build."""

    def __init__(self, partitions: int) -> None:
        self.rows: dict[bytes, dict[int, PartialRow]] = {}
        self.parked: dict[tuple[bytes, int], Parked] = {}
        self.progress = [0] * partitions
        self._keys: _SortedKeys = _SortedKeys()

    def save(self, batch: ViewBatch) -> None:
        for key, row in batch.rows.items():
            partials = self.rows.get(key)
            if partials is None:
                partials = self.rows[key] = {}
                self._keys.add(key)
            partials[batch.partition] = row
        for key, parked in batch.parked.items():
            if parked is None:
                self.parked.pop((key, batch.partition), None)
            else:
                self.parked[key, batch.partition] = parked
        self.progress[batch.partition] = batch.through

    def living(self, key: bytes) -> tuple[PartialRow, ...]:
        partials = self.rows.get(key, {})
        return tuple(
            partials[partition]
            for partition in sorted(partials)
            if partials[partition].encoded is not None
        )

    def list(self, prefix: bytes, after: bytes, limit: int) -> list[KeyedRow]:
        keys = self._keys.between(prefix, after)
        rows = (KeyedRow(key, self.living(key)) for key in keys)
        return list(islice((row for row in rows if row.partials), limit))


class _SortedKeys:
    """Keys in order, sorted when they are asked for, so that adding many costs little."""

    def __init__(self) -> None:
        self._sorted: list[bytes] = []
        self._added: list[bytes] = []

    def add(self, key: bytes) -> None:
        """Adds a key that is not there yet."""
        self._added.append(key)

    def between(self, prefix: bytes, after: bytes) -> Iterator[bytes]:
        """Iterates over the keys that start with `prefix` and are above `after`."""
        if self._added:
            self._sorted += self._added
            self._sorted.sort()
            self._added.clear()
        first = max(bisect_left(self._sorted, prefix), bisect_right(self._sorted, after))
        above = after_prefix(prefix)
        end = len(self._sorted) if above is None else bisect_left(self._sorted, above)
        return (self._sorted[place] for place in range(first, end))
