"""Whatever the store does, and however often clients repeat: each command takes effect once."""

import asyncio
import random
from collections import Counter

import pytest

from eventspine.domain.errors import RefusalError
from eventspine.rpc.errors import StreamVersionConflictError
from eventspine.storage.codec import verify
from eventspine.storage.connect import open_memory
from eventspine.storage.errors import OutcomeUnknownError, StoreUnavailableError
from eventspine.storage.records import GENESIS
from eventspine.v1.command_pb2 import CommandResult
from tests.command.bank_service import BankService, deposit, opening, running, withdrawal
from tests.command.watched_store import Fault

FAULTS: list[Fault] = ["lost before", "lost after", "unavailable"]
ACCOUNTS = ["a", "b", "c"]


@pytest.mark.parametrize("seed", range(5))
async def test_two_processes_on_a_faulty_store_store_each_command_once(seed: int) -> None:
    chance = random.Random(seed)
    backend = open_memory()
    settings = {
        "unknown_wait_seconds": 0.05,
        "resend_pause_seconds_max": 0.02,
        "cached_streams_max": 2,
        "attempts_max": 3,
    }
    async with running(backend, **settings) as one, running(backend, **settings) as two:
        for account in ACCOUNTS:
            await one.call(opening(account))
        for bank in (one, two):
            bank.store.faults += chance.choices(FAULTS, k=20)
        sent = [
            chance.choice([deposit, withdrawal])(chance.choice(ACCOUNTS), chance.randint(1, 9))
            for _ in range(120)
        ]
        banks = [chance.choice([one, two]) for _ in sent]
        pairs = zip(banks, sent, strict=True)
        results = await asyncio.gather(*(insist(bank, command) for bank, command in pairs))
        for account in ACCOUNTS:
            records = await one.store.read(f"account/{account}")
            verify(f"account/{account}", records, GENESIS, 0)
            stored = Counter(
                record.command_id for record in await one.records(f"account/{account}")
            )
            told = {
                command.header.command_id
                for command, result in zip(sent, results, strict=True)
                if result is not None and command.account_id == account
            }
            assert set(stored.values()) == {1}, f"seed {seed}: stored twice"
            assert len(stored) == len(told) + 1, f"seed {seed}: told is not what is stored"
            assert told <= set(stored), f"seed {seed}: told and not stored"


async def insist(bank: BankService, command: object) -> CommandResult | None:
    """Sends a command until it is known what became of it; None when it was refused."""
    for _ in range(200):
        try:
            return await bank.call(command)  # type: ignore[arg-type]
        except RefusalError:
            return None
        except (OutcomeUnknownError, StoreUnavailableError, StreamVersionConflictError):
            await asyncio.sleep(0)
    raise AssertionError("nobody could tell what became of a command")
