"""Which events a subscription sends: a filter of the contract, checked and compiled once."""

import hashlib
from collections.abc import Callable, Sequence

from eventspine.rpc import limits
from eventspine.rpc.checks import check_size, check_stream, refuse
from eventspine.storage.records import LogEntry
from eventspine.v1.subscription_pb2 import EventFilter

Part = Callable[[LogEntry], bool]


class CompiledFilter:
    """A filter as it is used.

    Attributes:
        stream: The one stream that passes; empty where several may.
        fingerprint: 8 bytes that differ for filters that let different events through.
        all_pass: Whether every event passes.
    """

    def __init__(self, parts: Sequence[Part], *, stream: str, fingerprint: bytes) -> None:
        """Is made by `compile_filter`."""
        self._parts = parts
        self.stream = stream
        self.fingerprint = fingerprint
        self.all_pass = not parts

    def matching(self, entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        """Returns the entries that pass, in order; the same sequence where all pass."""
        for part in self._parts:
            entries = [entry for entry in entries if part(entry)]
        return entries


def compile_filter(wanted: EventFilter) -> CompiledFilter:
    """Checks a filter and makes it ready.

    Raises:
        InvalidRequestError: The stream's name is malformed, or a choice is empty.
        LimitExceededError: It names too much.
    """
    _check(wanted)
    parts: list[Part] = []
    if wanted.stream:
        parts.append(_by_stream(wanted.stream))
    if wanted.categories:
        parts.append(_by_category(frozenset(wanted.categories)))
    if wanted.stream_prefix:
        parts.append(_by_prefix(wanted.stream_prefix))
    if wanted.types:
        parts.append(_by_type(frozenset(wanted.types)))
    return CompiledFilter(parts, stream=wanted.stream, fingerprint=_fingerprint(wanted))


def _check(wanted: EventFilter) -> None:
    if wanted.stream:
        check_stream("filter.stream", wanted.stream)
    for name, choices in (("categories", wanted.categories), ("types", wanted.types)):
        path = f"filter.{name}"
        check_size(path, len(choices), limits.FILTER_VALUES_MAX, limit=path, unit="entries")
        if "" in choices:
            refuse(path, "holds an empty name; name what is wanted, or leave it out")
    prefix_bytes = len(wanted.stream_prefix.encode())
    path = "filter.stream_prefix"
    check_size(path, prefix_bytes, limits.STREAM_BYTES_MAX, limit=path)


def _by_stream(stream: str) -> Part:
    return lambda entry: entry.stream == stream


def _by_category(categories: frozenset[str]) -> Part:
    return lambda entry: entry.stream.partition("/")[0] in categories


def _by_prefix(prefix: str) -> Part:
    return lambda entry: entry.stream.startswith(prefix)


def _by_type(types: frozenset[str]) -> Part:
    return lambda entry: entry.type in types


def _fingerprint(wanted: EventFilter) -> bytes:
    """Returns the same for the same choices in another order, since the same events pass."""
    ordered = EventFilter(
        stream=wanted.stream,
        categories=sorted(set(wanted.categories)),
        stream_prefix=wanted.stream_prefix,
        types=sorted(set(wanted.types)),
    )
    return hashlib.sha256(ordered.SerializeToString(deterministic=True)).digest()[:8]
