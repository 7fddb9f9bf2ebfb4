"""What stands in a record: whose it is, what caused it, which shape it has, and its chain."""

import hashlib
from pathlib import Path

import grpc
import pytest

from bank.v1 import account_pb2 as bank
from devstack.embedded import Embedded
from domains.bank.domain import BANK
from eventspine.v1.admin_pb2 import ExportRequest
from eventspine.v1.query_pb2 import GetStreamRequest
from eventspine.v1.record_pb2 import EventRecord
from tests.journey.conftest import BACKENDS
from tests.journey.user import User, collected

CHAIN_BYTES = 34
"""The encoding's last bytes: the tag, the length, and 32 bytes of hash."""


def chained(records: list[EventRecord]) -> list[bytes]:
    """Computes the chain as the contract's comment says it, by code that shares nothing with it."""
    chain, chains = bytes(32), []
    for record in records:
        encoded = record.SerializeToString(deterministic=True)
        chain = hashlib.sha256(chain + encoded[:-CHAIN_BYTES]).digest()
        chains.append(chain)
    return chains


async def test_a_record_tells_its_command_and_what_that_belongs_to(user: User) -> None:
    await user.open("ann")
    await user.deposit("ann", 5, command_id="plain")
    await user.deposit(
        "ann",
        6,
        command_id="told",
        correlation_id="order 7",
        causation_id="plain.0",
        metadata={"by": "teller 3"},
    )
    _, plain, full = await user.records("account/ann")
    assert (plain.command_id, plain.correlation_id, plain.causation_id) == ("plain", "plain", "")
    assert dict(plain.metadata) == {}
    assert (full.command_id, full.correlation_id, full.causation_id) == (
        "told",
        "order 7",
        "plain.0",
    )
    assert dict(full.metadata) == {"by": "teller 3"}
    assert (full.event_id, full.stream, full.stream_version) == ("told.0", "account/ann", 3)
    assert (full.type, full.tenant) == ("bank.v1.MoneyDeposited", plain.tenant)
    assert full.tenant == "default" or full.tenant.startswith("tenant-")
    event = bank.MoneyDeposited(account_id="ann", amount_cents=6)
    assert bank.MoneyDeposited.FromString(full.payload) == event
    assert plain.append_time.ToMicroseconds() <= full.append_time.ToMicroseconds()


async def test_a_record_carries_the_fingerprint_of_its_shape(user: User) -> None:
    for account in ("ann", "bob"):
        await user.open(account, cents=5)
        await user.deposit(account, 6)
    ann, bob = [
        [record.schema_fingerprint for record in await user.records(f"account/{account}")]
        for account in ("ann", "bob")
    ]
    assert ann == bob
    assert ann[0] != ann[1] == ann[2]
    assert {len(fingerprint) for fingerprint in ann} == {8}


async def test_the_records_of_a_stream_are_chained(user: User) -> None:
    await user.open("ann")
    for cents in range(1, 30):
        await user.deposit("ann", cents, metadata={"n": str(cents)})
    await user.append("account/ann", [bank.MoneyDeposited(account_id="ann", amount_cents=1)] * 50)
    records = await user.records("account/ann")
    assert [record.chain_hash for record in records] == chained(records)
    told = await user.queries.GetStream(GetStreamRequest(stream="account/ann"))
    assert (told.last_version, told.chain_hash) == (80, records[-1].chain_hash)


async def test_every_way_to_a_record_gives_the_same_bytes(user: User) -> None:
    await user.open("ann", cents=5)
    await user.deposit("ann", 6, metadata={"a": "1"})
    read = [record.SerializeToString() for record in await user.records("account/ann")]
    reader = user.subscribe()
    assert [record.SerializeToString() for record in await reader.taken(3)] == read
    reader.leave()
    exported = await collected(user.admin.Export(ExportRequest()))
    assert [record for reply in exported for record in reply.records] == read


@pytest.mark.parametrize("backend", BACKENDS)
async def test_records_belong_to_the_tenant_of_the_process(backend: str, tmp_path: Path) -> None:
    db = tmp_path / "events.db" if backend == "sqlite" else None
    async with (
        Embedded([BANK], db=db, tenant="north") as platform,
        grpc.aio.insecure_channel(platform.address) as channel,
    ):
        user = User(channel)
        await user.open("ann", cents=5)
        await user.append("account/ann", [bank.MoneyDeposited(account_id="ann", amount_cents=1)])
        assert [record.tenant for record in await user.records("account/ann")] == ["north"] * 3
