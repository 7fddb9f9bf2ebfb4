"""The checker finds what is planted, and nothing where all is well."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from bank.v1 import account_pb2 as pb
from eventspine.storage.codec import encode
from eventspine.storage.records import GENESIS
from eventspine.v1.record_pb2 import EventRecord
from tests.faults.checker import (
    Answered,
    Entry,
    Evidence,
    Failed,
    Refused,
    Seen,
    Sent,
    broken_promises,
)
from tests.faults.folding import folded

STREAMS = ("account/a", "account/b", "account/c")


def evidence() -> Evidence:
    """Returns what an honest run leaves behind; the last of 60 commands was never answered."""
    sent, answered, log, heads = [], [], [], {stream: (0, GENESIS) for stream in STREAMS}
    chance = random.Random(7)
    for number in range(60):
        stream = chance.choice(STREAMS)
        version, chain = heads[stream]
        event = pb.MoneyDeposited(amount_cents=number + 1)
        record = EventRecord(
            stream=stream,
            stream_version=version + 1,
            type="bank.v1.MoneyDeposited",
            command_id=f"c{number}",
            payload=event.SerializeToString(),
        )
        new, chain = encode(record, chain)
        heads[stream] = (version + 1, chain)
        log.append(Entry(number + 1, stream, *new))
        sent.append(Sent(stream, f"c{number}", number))
        if number < 59:
            answer = Answered(stream, f"c{number}", version + 1, 1, False, number + 0.5)
            answered.append(answer)
            if number % 3 == 0:
                sent.append(Sent(stream, f"c{number}", number + 0.6))
                answered.append(answer._replace(replayed=True, time=number + 0.7))
    sent.append(Sent("account/a", "refused", 70))
    refused = [Refused("account/a", "refused", 71)]
    transcript = [Seen(entry.sequence, entry.encoded) for entry in log]
    rows = folded(log)
    return Evidence(sent, answered, refused, log, transcript, rows, dict(rows))


def without(items: Any, place: int) -> list[Any]:
    return [*items[:place], *items[place + 1 :]]


def swapped(items: Any, one: int, other: int) -> list[Any]:
    changed = list(items)
    changed[one], changed[other] = changed[other], changed[one]
    return changed


def replaced(items: Any, place: int, **fields: Any) -> list[Any]:
    changed = list(items)
    changed[place] = changed[place]._replace(**fields)
    return changed


def lost(good: Evidence) -> Evidence:
    """The last acknowledged event was never stored, as after a write without an fsync."""
    return good._replace(log=good.log[:-2], transcript=good.transcript[:-2])


def stored_twice(good: Evidence) -> Evidence:
    first = EventRecord.FromString(good.log[0].encoded)
    heads = [entry for entry in good.log if entry.stream == first.stream]
    first.ClearField("chain_hash")
    first.stream_version = len(heads) + 1
    new, _ = encode(first, heads[-1].encoded[-32:])
    return good._replace(log=[*good.log, Entry(61, first.stream, *new)])


def payload_changed(good: Evidence) -> Evidence:
    encoded = bytearray(good.log[30].encoded)
    encoded[-40] ^= 1
    return good._replace(log=replaced(good.log, 30, encoded=bytes(encoded)))


def stored(good: Evidence) -> dict[tuple[str, int], bytes]:
    return {(entry.stream, entry.stream_version): entry.encoded for entry in good.log}


def only(good: Evidence, prefix: str) -> list[Seen]:
    chosen = [entry for entry in good.log if entry.stream.startswith(prefix)]
    return [Seen(entry.sequence, entry.encoded) for entry in chosen]


PLANTED: dict[str, tuple[Callable[[Evidence], Evidence], str]] = {
    "an acknowledged event is lost": (lost, "was lost"),
    "a command took effect twice": (stored_twice, "elsewhere or twice"),
    "a command is at another version than answered": (
        lambda good: good._replace(answered=replaced(good.answered, 5, last_version=50)),
        "it is at",
    ),
    "a stored payload was changed": (payload_changed, "chain of"),
    "a record was taken out of the middle": (
        lambda good: good._replace(log=without(good.log, 20)),
        "not dense",
    ),
    "two versions changed places": (
        lambda good: good._replace(log=swapped(good.log, 57, 59)),
        "not dense and in order",
    ),
    "the log has a hole": (
        lambda good: good._replace(log=replaced(good.log, 59, sequence=61)),
        "where 60 belongs",
    ),
    "a retry was answered otherwise": (
        lambda good: good._replace(answered=replaced(good.answered, 1, event_count=2)),
        "at first and",
    ),
    "a retry was answered as if it were new": (
        lambda good: good._replace(answered=replaced(good.answered, 1, replayed=False)),
        "as if it were new",
    ),
    "a first answer is called replayed": (
        lambda good: good._replace(answered=replaced(good.answered, 2, replayed=True)),
        "was sent once",
    ),
    "something is stored that nobody sent": (
        lambda good: good._replace(sent=without(good.sent, len(good.sent) - 2)),
        "nobody sent it",
    ),
    "a refused command is stored": (
        lambda good: good._replace(
            answered=good.answered[:-1],
            refused=[*good.refused, Refused(*good.answered[-1][:2], 90)],
        ),
        "refused or failed each time",
    ),
    "a command that failed definitely is stored": (
        lambda good: good._replace(
            answered=good.answered[:-1],
            failed=[Failed(*good.answered[-1][:2], 90)],
        ),
        "refused or failed each time",
    ),
    "a stored event is not in the log": (
        lambda good: good._replace(events={**stored(good), ("account/z", 1): b""}),
        "('account/z', 1) is stored, and not in the log",
    ),
    "an event of the log is not stored": (
        lambda good: good._replace(events=dict(list(stored(good).items())[1:])),
        "is in the log, and not stored",
    ),
    "an event has other bytes in the log": (
        lambda good: good._replace(events=dict.fromkeys(stored(good), b"")),
        "with other bytes",
    ),
    "a stream is in two partitions": (
        lambda good: good._replace(log=replaced(good.log, 59, partition=1, sequence=1)),
        "more than one partition",
    ),
    "a subscription to some streams left an event out": (
        lambda good: good._replace(filtered={"account/a": only(good, "account/a")[1:]}),
        "was not sent",
    ),
    "a subscription to some streams was sent others": (
        lambda good: good._replace(filtered={"account/a": good.transcript}),
        "not what is stored",
    ),
    "an acknowledged command was refused later": (
        lambda good: good._replace(
            refused=[*good.refused, Refused(*good.answered[-1][:2], 90)],
        ),
        "refused when it came again",
    ),
    "a command overtook one that was acknowledged before": (
        lambda good: good._replace(sent=replaced(good.sent, 0, time=58.9)),
        "was first sent when",
    ),
    "a subscription left an event out": (
        lambda good: good._replace(transcript=without(good.transcript, 33)),
        r"was not sent: (0, 34)",
    ),
    "a subscription lacks the end": (
        lambda good: good._replace(transcript=good.transcript[:-1]),
        "was not sent: (0, 60)",
    ),
    "a subscription repeated an event": (
        lambda good: good._replace(transcript=[*good.transcript[:9], *good.transcript[8:]]),
        "sent twice: (0, 9)",
    ),
    "a subscription was out of order": (
        lambda good: good._replace(transcript=swapped(good.transcript, 3, 4)),
        "not in order",
    ),
    "a subscription was sent other bytes": (
        lambda good: good._replace(transcript=replaced(good.transcript, 3, encoded=b"")),
        "not what is stored",
    ),
    "a row has another value": (
        lambda good: good._replace(rows={**good.rows, ("balance", "a"): 1}),
        "the row ('balance', 'a')",
    ),
    "a row is missing": (
        lambda good: good._replace(rows={k: v for k, v in good.rows.items() if k[1] != "b 1"}),
        "is None",
    ),
    "a row is there that no event made": (
        lambda good: good._replace(rows={**good.rows, ("balance", "z"): 0}),
        "fold to None",
    ),
}


def test_an_honest_run_breaks_no_promise() -> None:
    good = evidence()
    assert broken_promises(good) == []
    filtered = {prefix: only(good, prefix) for prefix in ("", "account/a")}
    whole = good._replace(
        events=stored(good), filtered=filtered, failed=[Failed(*good.answered[0][:2], 1.0)]
    )
    assert broken_promises(whole) == []


def test_partitions_of_the_log_are_judged_apart() -> None:
    good = evidence()
    ends = dict.fromkeys(STREAMS, 0)
    log = []
    for entry in good.log:
        ends[entry.stream] += 1
        place = {"sequence": ends[entry.stream], "partition": STREAMS.index(entry.stream)}
        log.append(entry._replace(**place))
    transcript = [Seen(entry.sequence, entry.encoded, entry.partition) for entry in log]
    assert broken_promises(good._replace(log=log, transcript=transcript)) == []
    other = good._replace(log=log, transcript=swapped(transcript, 0, 59))
    assert "not in order" in " ".join(broken_promises(other))


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(name: str) -> None:
    plant, told = PLANTED[name]
    found = broken_promises(plant(evidence()))
    assert any(told in sentence for sentence in found), found
