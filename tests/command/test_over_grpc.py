"""The same service behind a real port."""

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from bank.v1 import account_pb2 as pb
from bank.v1.account_pb2_grpc import AccountCommandsStub
from eventspine.rpc.host import Host
from eventspine.v1.command_pb2 import ExecuteRequest
from eventspine.v1.command_pb2_grpc import CommandServiceStub
from eventspine.v1.record_pb2 import VersionConflict
from tests.command.bank_service import BankService, at, deposit, opening


async def test_typed_commands_and_bulk_are_answered_over_a_channel(bank: BankService) -> None:
    host = Host(bank.service.methods())
    async with grpc.aio.insecure_channel(await host.start()) as channel:
        accounts = AccountCommandsStub(channel)
        opened: pb.OpenAccountResponse = await accounts.OpenAccount(opening())
        assert opened.result.last_version == 1
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await accounts.Deposit(deposit(expected=at(7)))
        assert refused.value.code() == grpc.StatusCode.ABORTED
        details = rpc_status.from_call(refused.value).details
        conflict, info = VersionConflict(), error_details_pb2.ErrorInfo()
        assert details[0].Unpack(info)
        assert details[1].Unpack(conflict)
        assert (info.reason, conflict.actual_version) == ("ERROR_REASON_STREAM_VERSION_CONFLICT", 1)
        request = ExecuteRequest()
        for _ in range(100):
            request.commands.add().Pack(deposit())
        call = CommandServiceStub(channel).Execute(iter([request] * 2))
        verdicts = [verdict async for response in call for verdict in response.verdicts]
        assert len(verdicts) == 200
        assert sum(verdict.result.replayed for verdict in verdicts) == 100
    await host.stop(0)
