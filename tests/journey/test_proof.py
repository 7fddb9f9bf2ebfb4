"""History is provable: what was changed behind the platform is named, and all is exported."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from devstack.embedded import Embedded
from domains.bank.domain import BANK
from eventspine.v1.admin_pb2 import ExportRequest, GetStatusRequest, VerifyRequest
from eventspine.v1.record_pb2 import PartitionSequence
from tests.journey.user import User, collected, depositing, opening, projected, refusal, told

Found = list[tuple[str, int]]
Tamper = Callable[[sqlite3.Connection], object]

ANN = "stream = 'account/ann'"
TAMPERINGS: dict[str, tuple[Tamper, Found]] = {
    "nothing": (lambda db: None, []),
    "an amount": (
        lambda db: db.execute(
            "UPDATE events SET encoded = ? WHERE stream = 'account/ann' AND stream_version = 3",
            (_raised(db, 3),),
        ),
        [("account/ann", 3)],
    ),
    "a missing record": (
        lambda db: db.execute(f"DELETE FROM events WHERE {ANN} AND stream_version = 4"),
        [("account/ann", 4)],
    ),
    "a missing last record": (
        lambda db: db.execute(f"DELETE FROM events WHERE {ANN} AND stream_version = 6"),
        [("account/ann", 6)],
    ),
    "the missing second half": (
        lambda db: db.execute(f"DELETE FROM events WHERE {ANN} AND stream_version > 3"),
        [("account/ann", 4)],
    ),
    "two records exchanged": (
        lambda db: db.executescript(
            f"UPDATE events SET stream_version = 99 WHERE {ANN} AND stream_version = 2;"
            f"UPDATE events SET stream_version = 2 WHERE {ANN} AND stream_version = 5;"
            f"UPDATE events SET stream_version = 5 WHERE {ANN} AND stream_version = 99;"
        ),
        [("account/ann", 2)],
    ),
    "a record of another stream": (
        lambda db: db.execute(
            "UPDATE events SET encoded = (SELECT encoded FROM events WHERE"
            " stream = 'account/bob' AND stream_version = 2)"
            f" WHERE {ANN} AND stream_version = 2"
        ),
        [("account/ann", 2)],
    ),
    "no record at all": (
        lambda db: db.execute(f"UPDATE events SET encoded = x'ff' WHERE {ANN}"),
        [("account/ann", 1)],
    ),
    "two streams": (
        lambda db: db.execute(
            "UPDATE events SET encoded = x'' WHERE stream_version = 2"
            " AND stream IN ('account/ann', 'account/cid')"
        ),
        [("account/ann", 2), ("account/cid", 2)],
    ),
}

SHORTENED = ("a missing last record", "the missing second half")


def _raised(db: sqlite3.Connection, version: int) -> bytes:
    """Returns the encoding of a deposit with one bit of its amount set."""
    (encoded,) = db.execute(
        f"SELECT encoded FROM events WHERE {ANN} AND stream_version = ?", (version,)
    ).fetchone()
    # The payload stands last before the 34 bytes of the chain hash, the amount last in it.
    changed = bytearray(encoded)
    changed[-35] ^= 1
    return bytes(changed)


async def filled(user: User) -> None:
    for account in ("ann", "bob", "cid"):
        await user.execute([opening(account), depositing(account, 2)])
        for _ in range(3):
            await user.deposit(account, 2)
        # The log has all of it then, also where another process writes it.
        assert (await user.deposit(account, 2, wait_for=projected())).projected


@pytest.mark.parametrize("name", list(TAMPERINGS))
async def test_verify_names_the_first_record_that_was_changed(name: str, tmp_path: Path) -> None:
    db = tmp_path / "events.db"
    async with (
        Embedded([BANK], db=db) as platform,
        grpc.aio.insecure_channel(platform.address) as channel,
    ):
        await filled(User(channel))
    tamper, expected = TAMPERINGS[name]
    with closing(sqlite3.connect(db)) as connection:
        tamper(connection)
        connection.commit()
    async with (
        Embedded([BANK], db=db) as platform,
        grpc.aio.insecure_channel(platform.address) as channel,
    ):
        user = User(channel)
        *_, last = await collected(user.admin.Verify(VerifyRequest()))
        assert last.done
        assert last.streams == 3
        assert [(one.stream, one.stream_version) for one in last.breaks] == expected
        assert all(one.problem for one in last.breaks)
        assert [one.stream for one in last.breaks if "a command stored" in one.problem] == [
            stream for stream, _ in expected if name in SHORTENED
        ]
        for stream in ("account/ann", "account/bob"):
            *_, last = await collected(user.admin.Verify(VerifyRequest(stream=stream)))
            named = [(one.stream, one.stream_version) for one in last.breaks]
            # A stream alone is a whole chain, up to the last record that it has.
            wanted = [] if name in SHORTENED else expected
            assert named == [found for found in wanted if found[0] == stream]


async def test_an_untouched_store_verifies(user: User) -> None:
    await filled(user)
    *_, last = await collected(user.admin.Verify(VerifyRequest()))
    assert (last.done, last.streams, last.records, list(last.breaks)) == (True, 3, 18, [])
    error = await refusal(collected(user.admin.Verify(VerifyRequest(stream="account/zoe"))))
    assert told(error) == "NOT_FOUND STREAM_NOT_FOUND"


async def test_an_export_holds_every_record_and_command_and_later_only_what_is_new(
    user: User,
) -> None:
    await filled(user)
    first = await collected(user.admin.Export(ExportRequest()))
    exported = [record for reply in first for record in reply.records]
    stored = [
        record.SerializeToString()
        for account in ("ann", "bob", "cid")
        for record in await user.records(f"account/{account}")
    ]
    assert sorted(exported) == sorted(stored)
    commands = [command for reply in first for command in reply.commands]
    assert [command.number for command in commands] == sorted(c.number for c in commands)
    assert {(c.stream, c.last_version) for c in commands} == {
        (f"account/{account}", version)
        for account in ("ann", "bob", "cid")
        for version in range(1, 7)
    }
    last = first[-1]
    assert (list(last.records), list(last.commands), last.remaining) == ([], [], 0)
    await user.deposit("bob", 5, wait_for=projected())
    ends = {reply.partition: reply.sequences[-1] for reply in first if reply.sequences}
    again = ExportRequest(
        after=[PartitionSequence(partition=p, sequence=s) for p, s in ends.items()],
        after_command_number=commands[-1].number,
    )
    later = await collected(user.admin.Export(again))
    (record,) = [record for reply in later for record in reply.records]
    assert record == (await user.records("account/bob"))[-1].SerializeToString()
    # A store without an order over all streams tells commands without events again.
    new = {(c.stream, c.last_version) for r in later for c in r.commands if c.event_count}
    assert new == {("account/bob", 7)}


async def test_the_status_tells_what_the_platform_is(user: User) -> None:
    await filled(user)
    status = await user.admin.GetStatus(GetStatusRequest())
    kinds = (("memory", False), ("sqlite", True), ("cassandra", True))
    assert (status.backend, bool(status.location)) in kinds
    assert status.store_id
    assert status.durability
    # The test's node answers before its disk has the write, and it is alone.
    weak = {"memory": ["nothing is kept"], "sqlite": [], "cassandra": ["commitlog", "replicas"]}
    found = status.durability_weaknesses
    for text, word in zip(found, weak[status.backend], strict=True):
        assert word in text
    (record, *_) = await user.records("account/ann")
    assert status.tenant == record.tenant != ""
    assert sum(end.sequence for end in status.ends) == 18
