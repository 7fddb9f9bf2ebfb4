"""Judges what clients saw against what a store holds; promise: each broken promise is a sentence.

It knows nothing of the platform but the contract: records, command ids, versions and sequences. It
finds by brute comparison, so that it can be trusted where the platform is clever.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

from eventspine.storage.codec import verify
from eventspine.storage.errors import ChainBrokenError
from eventspine.storage.records import GENESIS, StreamRecord
from eventspine.v1.record_pb2 import EventRecord

CommandName = tuple[str, str]
"""A stream and a command id, which is unique in it."""


class Sent(NamedTuple):
    """A command was sent: where, by which id, and when, by one clock for all clients."""

    stream: str
    command_id: str
    time: float


class Answered(NamedTuple):
    """A command was acknowledged: with which result, and when."""

    stream: str
    command_id: str
    last_version: int
    event_count: int
    replayed: bool
    time: float


class Refused(NamedTuple):
    """A command was refused by its domain, which stores nothing."""

    stream: str
    command_id: str
    time: float


class Failed(NamedTuple):
    """A command failed with a reason that says that nothing was stored."""

    stream: str
    command_id: str
    time: float


class Entry(NamedTuple):
    """A stored record in its place in the log."""

    sequence: int
    stream: str
    stream_version: int
    type: str
    encoded: bytes
    partition: int = 0


class Seen(NamedTuple):
    """A record that a subscription was sent."""

    sequence: int
    encoded: bytes
    partition: int = 0


class Evidence(NamedTuple):
    """All that clients saw, and what the store holds at the end.

    Attributes:
        log: The store's records, in the order of the log, partition by partition.
        transcript: What one subscription was sent, over all its connections, in order.
        folded: What each row of the views has to be, by view and key, folded from `log`.
        rows: The rows as queries answered them.
        failed: Definite failures, which do not tell that a later attempt failed too.
        events: What the table of events holds, by stream and version, where it is another one than
            the log's.
        filtered: By the prefix of streams, what a subscription to these was sent.
    """

    sent: Sequence[Sent]
    answered: Sequence[Answered]
    refused: Sequence[Refused]
    log: Sequence[Entry]
    transcript: Sequence[Seen]
    folded: Mapping[tuple[str, str], object]
    rows: Mapping[tuple[str, str], object]
    failed: Sequence[Failed] = ()
    events: Mapping[tuple[str, int], bytes] | None = None
    filtered: Mapping[str, Sequence[Seen]] = MappingProxyType({})


def broken_promises(evidence: Evidence) -> list[str]:
    """Returns a sentence for each promise that was broken; empty when all were kept."""
    return [
        *_log(evidence.log),
        *_streams(evidence.log),
        *_events(evidence),
        *_effects(evidence),
        *_answers(evidence),
        *_time(evidence),
        *_transcript(evidence.transcript, evidence.log),
        *chain.from_iterable(
            _transcript(transcript, [one for one in evidence.log if one.stream.startswith(prefix)])
            for prefix, transcript in evidence.filtered.items()
        ),
        *_rows(evidence.rows, evidence.folded),
    ]


def _log(log: Sequence[Entry]) -> Iterator[str]:
    ends: Counter[int] = Counter()
    for entry in log:
        place = ends[entry.partition] = ends[entry.partition] + 1
        if entry.sequence != place:
            yield f"the log has sequence {entry.sequence} where {place} belongs"
            return


def _streams(log: Sequence[Entry]) -> Iterator[str]:
    """Versions are dense, in the order of the log, and the chain holds."""
    streams: dict[str, list[StreamRecord]] = defaultdict(list)
    partition_of: dict[str, int] = {}
    for entry in log:
        streams[entry.stream].append(StreamRecord(*entry[2:5]))
        if partition_of.setdefault(entry.stream, entry.partition) != entry.partition:
            yield f"{entry.stream} is in more than one partition of the log"
    for stream, records in streams.items():
        versions = [record.stream_version for record in records]
        if versions != [*range(1, len(records) + 1)]:
            yield f"the versions of {stream} are not dense and in order: {_short(versions)}"
            continue
        try:
            verify(stream, records, GENESIS, 0)
        except ChainBrokenError as error:
            yield f"the chain of {stream} is broken: {error}"


def _events(evidence: Evidence) -> Iterator[str]:
    """Log and table of events hold the same."""
    if evidence.events is None:
        return
    log = {(entry.stream, entry.stream_version): entry.encoded for entry in evidence.log}
    for name in sorted(log.keys() | evidence.events.keys()):
        if log.get(name) is None:
            yield f"{name} is stored, and not in the log"
        elif evidence.events.get(name) is None:
            yield f"{name} is in the log, and not stored"
        elif log[name] != evidence.events[name]:
            yield f"{name} is stored and in the log with other bytes"


def _effects(evidence: Evidence) -> Iterator[str]:
    """What was acknowledged is there once; what was refused or never sent is not there."""
    stored: dict[CommandName, list[int]] = defaultdict(list)
    for entry in evidence.log:
        command_id = EventRecord.FromString(entry.encoded).command_id
        stored[entry.stream, command_id].append(entry.stream_version)
    for answer in evidence.answered:
        last = answer.last_version
        expected = [*range(last - answer.event_count + 1, last + 1)]
        found = stored.get(_name(answer), [])
        if found != expected:
            how = "was lost" if len(found) < len(expected) else "took effect elsewhere or twice"
            yield f"{_name(answer)}, acknowledged at {expected}, {how}: it is at {found}"
    sent = {_name(one) for one in evidence.sent}
    for name in stored.keys() - sent:
        yield f"{name} is stored, and nobody sent it"
    settled = {_name(one) for one in evidence.answered}
    times_sent = Counter(_name(one) for one in evidence.sent)
    definite = Counter(_name(one) for one in (*evidence.refused, *evidence.failed))
    for name, count in definite.items():
        if name in stored and name not in settled and count == times_sent[name]:
            yield f"{name} was refused or failed each time, and is stored"
    for name in {_name(one) for one in evidence.refused}:
        if name in stored and name in settled and _refused_after(evidence, name):
            yield f"{name} was acknowledged, and refused when it came again"


def _refused_after(evidence: Evidence, name: CommandName) -> bool:
    first = min(one.time for one in evidence.answered if _name(one) == name)
    return any(one.time > first for one in evidence.refused if _name(one) == name)


def _answers(evidence: Evidence) -> Iterator[str]:
    """The first answer comes again, and says that it does."""
    times_sent = Counter(_name(one) for one in evidence.sent)
    answers: dict[CommandName, list[Answered]] = defaultdict(list)
    for answer in sorted(evidence.answered, key=lambda one: one.time):
        answers[_name(answer)].append(answer)
    for name, (first, *later) in answers.items():
        if first.replayed and times_sent[name] == 1:
            yield f"{name} was called replayed, and was sent once"
        for again in later:
            if again[2:4] != first[2:4]:
                yield f"{name} was answered {first[2:4]} at first and {again[2:4]} later"
        fresh = sum(not one.replayed for one in (first, *later))
        if fresh > 1:
            yield f"{name} was answered {fresh} times as if it were new"


def _time(evidence: Evidence) -> Iterator[str]:
    """A command that was sent after another one was acknowledged comes after it in the stream."""
    first_sent: dict[CommandName, float] = {}
    for one in evidence.sent:
        first_sent[_name(one)] = min(one.time, first_sent.get(_name(one), one.time))
    moments: dict[str, list[tuple[float, int, Answered]]] = defaultdict(list)
    for answer in evidence.answered:
        if answer.event_count and _name(answer) in first_sent:
            # At one moment the sending comes first: the two overlap then.
            moments[answer.stream] += [
                (first_sent[_name(answer)], 0, answer),
                (answer.time, 1, answer),
            ]
    for stream, timeline in moments.items():
        highest = 0
        for _, acknowledged, answer in sorted(timeline):
            if acknowledged:
                highest = max(highest, answer.last_version)
            elif answer.last_version <= highest:
                yield (
                    f"{_name(answer)} got version {answer.last_version}, and was first sent when "
                    f"{stream} was acknowledged at {highest}"
                )


def _transcript(transcript: Sequence[Seen], log: Sequence[Entry]) -> Iterator[str]:
    """A subscription from the beginning is sent the log: all of it, in order, each record once."""
    places = [_place(seen) for seen in transcript]
    if len(set(places)) < len(places):
        twice = [place for place, count in Counter(places).items() if count > 1]
        yield f"the subscription was sent twice: {_short(twice)}"
    for partition in {seen.partition for seen in transcript}:
        sequences = [seen.sequence for seen in transcript if seen.partition == partition]
        if sequences != sorted(sequences):
            yield "the subscription was not in order"
    known = {_place(entry): entry.encoded for entry in log}
    missing = known.keys() - set(places)
    if missing:
        yield f"the subscription was not sent: {_short(sorted(missing))}"
    for seen in transcript:
        if known.get(_place(seen)) != seen.encoded:
            yield f"the subscription was sent {seen.sequence}, which is not what is stored"
            return


def _rows(
    rows: Mapping[tuple[str, str], object], folded: Mapping[tuple[str, str], object]
) -> Iterator[str]:
    for key in sorted(rows.keys() | folded.keys()):
        if rows.get(key) != folded.get(key):
            yield f"the row {key} is {rows.get(key)!r}; the events fold to {folded.get(key)!r}"


def _name(one: Sent | Answered | Refused | Failed) -> CommandName:
    return one.stream, one.command_id


def _place(one: Entry | Seen) -> tuple[int, int]:
    return one.partition, one.sequence


def _short(places: Iterable[Any]) -> str:
    listed = [*places]
    shown = ", ".join(map(str, listed[:10]))
    return shown if len(listed) <= 10 else f"{shown} and {len(listed) - 10} more"
