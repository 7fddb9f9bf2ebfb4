"""What may be set of the query service; promise: every wait and every batch has a limit."""

from dataclasses import dataclass

BATCH_BYTES_MAX = 1 << 20
"""How large the records or rows of one message are at most; a single larger one stands alone."""

BATCH_RECORDS_MAX = 500
"""How many records or rows a message of a read or a list holds at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySettings:
    """The settings of the query service.

    Attributes:
        fell_behind_events: How many events a live subscription may be behind before it is told.
        checkpoint_events: After how many events looked at a subscription gets a checkpoint.
        checkpoint_seconds: How long a subscription that has looked at events may be silent.
        watch_checkpoint_seconds: How long a watch may be silent.
        near_events: Up to how many events one stream is looked for in the log rather than read on
            its own.
        memo_batches: How many encoded batches are kept for other subscriptions at the same place.
    """

    fell_behind_events: int = 10_000
    checkpoint_events: int = 10_000
    checkpoint_seconds: float = 1.0
    watch_checkpoint_seconds: float = 10.0
    near_events: int = 1_000
    memo_batches: int = 64
