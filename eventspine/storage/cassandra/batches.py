"""How many rows share a request; promise: as few requests as Cassandra takes without complaint.

Writing ten rows by one unlogged batch costs the client a sixth of ten requests, and took a third of
the time on one node. Cassandra logs a warning for batches of more than ten partitions or 5 KiB. The
rows of a batch are independent of each other: some of them may be written when it fails.
Source: our measurement on 5.0.8; `unlogged_batch_across_partitions_warn_threshold` and
`batch_size_warn_threshold` of its configuration.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

BATCH_ROWS = 10
BATCH_BYTES = 4_000

Item = TypeVar("Item")


def batched(
    items: Iterable[Item], size: Callable[[Item], int], *, rows_max: int = BATCH_ROWS
) -> Iterator[list[Item]]:
    """Cuts rows into batches; one that is larger than a batch may be stands alone.

    Args:
        items: The rows.
        size: Returns about how many bytes one of them takes.
        rows_max: How many may stand in a batch; more where all are of one partition.
    """
    batch: list[Item] = []
    room = BATCH_BYTES
    for item in items:
        taken = size(item)
        if batch and (len(batch) == rows_max or taken > room):
            yield batch
            batch, room = [], BATCH_BYTES
        batch.append(item)
        room -= taken
    if batch:
        yield batch
