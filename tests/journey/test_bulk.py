"""The bulk path: batches of typed commands in, a verdict for each out."""

import asyncio
from collections import defaultdict

from google.protobuf.message import Message
from grpc.aio import EOF

from eventspine.v1.command_pb2 import CommandVerdict, ExecuteRequest
from eventspine.v1.record_pb2 import Expectation, VersionConflict
from tests.journey.user import User, depositing, opening, withdrawing

ACCOUNTS = 50
DEPOSITS = 39


def batches() -> list[list[Message]]:
    """Returns 2,000 commands to 50 accounts in turn, in messages of as many as there may be."""
    commands: list[Message] = [opening(f"a{n}", command_id=f"open {n}") for n in range(ACCOUNTS)]
    for turn in range(1, DEPOSITS + 1):
        commands += [
            depositing(f"a{n}", turn, command_id=f"{turn} into {n}") for n in range(ACCOUNTS)
        ]
    return [commands[at : at + 1_000] for at in range(0, len(commands), 1_000)]


async def test_every_command_gets_its_verdict_and_streams_keep_their_order(user: User) -> None:
    sent = batches()
    verdicts = await user.execute(*sent)
    ids = [command.header.command_id for batch in sent for command in batch]
    assert sorted(verdict.command_id for verdict in verdicts) == sorted(ids)
    versions = defaultdict(list)
    for verdict in verdicts:
        assert verdict.WhichOneof("verdict") == "result", verdict
        assert verdict.result.token
        versions[verdict.stream].append(verdict.result.last_version)
    assert len(versions) == ACCOUNTS
    assert all(sorted(found) == list(range(1, DEPOSITS + 2)) for found in versions.values())
    for n in (0, 17, ACCOUNTS - 1):
        records = await user.records(f"account/a{n}")
        assert [record.command_id for record in records] == [
            f"open {n}",
            *[f"{turn} into {n}" for turn in range(1, DEPOSITS + 1)],
        ]


async def test_a_bulk_that_is_sent_again_stores_nothing_and_gets_the_same_verdicts(
    user: User,
) -> None:
    first = {verdict.command_id: verdict for verdict in await user.execute(*batches())}
    again = {verdict.command_id: verdict for verdict in await user.execute(*batches())}
    assert all(verdict.result.replayed for verdict in again.values())
    for verdict in again.values():
        verdict.result.replayed = False
    assert again == first
    assert len(await user.records("account/a7")) == DEPOSITS + 1


async def test_commands_fail_each_for_itself(user: User) -> None:
    await user.open("ann", cents=10)
    commands = {
        "good": depositing("ann", 1),
        "poor": withdrawing("ann", 1_000),
        "late": depositing("ann", 1, expected=Expectation(version=1)),
        "reused": depositing("ann", 3, command_id="same"),
        "absent": depositing("nobody", 1),
        "nameless": depositing("", 1),
        "also good": withdrawing("ann", 5),
    }
    await user.deposit("ann", 2, command_id="same")
    verdicts = {v.command_id: v for v in await user.execute(list(commands.values()))}
    found = {
        name: outcome(verdicts[command.header.command_id]) for name, command in commands.items()
    }
    assert found == {
        "good": "stored 4",
        "poor": "9 bank.v1 ACCOUNT_REFUSAL_INSUFFICIENT_FUNDS",
        "late": "10 eventspine.v1 ERROR_REASON_STREAM_VERSION_CONFLICT",
        "reused": "6 eventspine.v1 ERROR_REASON_COMMAND_ID_REUSED",
        "absent": "5 bank.v1 ACCOUNT_REFUSAL_NOT_OPEN",
        "nameless": "3 eventspine.v1 ERROR_REASON_INVALID_REQUEST",
        "also good": "stored 5",
    }
    conflict = VersionConflict()
    details = verdicts[commands["late"].header.command_id].failure.details
    assert any(detail.Unpack(conflict) for detail in details)
    assert [record.stream_version for record in conflict.missed] == [2, 3, 4]


def outcome(verdict: CommandVerdict) -> str:
    if verdict.HasField("result"):
        return f"stored {verdict.result.last_version}"
    failure = verdict.failure
    return f"{failure.code} {failure.domain} {failure.reason}"


async def test_verdicts_come_while_the_stream_stays_open(user: User) -> None:
    call = user.commands.Execute()
    for number in range(1, 6):
        request = ExecuteRequest()
        command = opening("ann") if number == 1 else depositing("ann", number)
        request.commands.add().Pack(command)
        await call.write(request)
        async with asyncio.timeout(5):
            (verdict,) = (await call.read()).verdicts
        assert verdict.result.last_version == number
    await call.done_writing()
    assert await call.read() is EOF


async def test_commands_of_one_batch_see_what_those_before_them_did(user: User) -> None:
    """A withdrawal is decided on the deposit right before it, though neither is stored yet."""
    commands: list[Message] = [opening("ann")]
    for _ in range(200):
        commands += [depositing("ann", 7), withdrawing("ann", 7)]
    verdicts = await user.execute(commands)
    assert {verdict.WhichOneof("verdict") for verdict in verdicts} == {"result"}
    assert len(await user.records("account/ann")) == 401
