"""What a store is: its kind, its place and its own id; promise: it does not change while open."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIdentity:
    """The identity of an open store.

    Attributes:
        backend: The kind of store: `memory`, `sqlite` or `cassandra`.
        location: Where it is kept; empty for `memory`.
        durability: What an acknowledgement means, in words.
        weaknesses: What makes it mean less than on the disk, or on those of a quorum; each with its
            cure.
        store_id: This store's own id: 32 hexadecimal digits, chosen at random when it was made.
        ancestors: By id of each earlier store, the ends of the log partitions up to which this
            store has the same events.
    """

    backend: str
    location: str
    durability: str
    store_id: str
    ancestors: Mapping[str, tuple[int, ...]]
    weaknesses: tuple[str, ...] = ()
