"""Service processes from start to exit, each over a SQLite file in place of the stack."""

import asyncio
import json
import signal
import urllib.request

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bank.v1 import account_pb2 as bank
from bank.v1.account_pb2_grpc import AccountCommandsStub
from eventspine.client.errors import call_error
from eventspine.v1.admin_pb2 import GetStatusRequest
from eventspine.v1.admin_pb2_grpc import AdminServiceStub
from eventspine.v1.command_pb2 import CommandHeader, ExecuteRequest
from eventspine.v1.command_pb2_grpc import CommandServiceStub
from eventspine.v1.query_pb2_grpc import QueryServiceStub
from eventspine.v1.subscription_pb2 import SubscribeRequest
from tests.process.child import SECONDS, Child, free_port
from tests.process.conftest import Starting

SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
)


def opening(command_id: str, account: str) -> bank.OpenAccountRequest:
    header = CommandHeader(command_id=command_id)
    return bank.OpenAccountRequest(header=header, account_id=account, owner="Ann")


async def health(channel: aio.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return (await health_pb2_grpc.HealthStub(channel).Check(request, wait_for_ready=True)).status


async def health_until(channel: aio.Channel, wanted: int) -> None:
    async with asyncio.timeout(SECONDS):
        while await health(channel) != wanted:  # noqa: ASYNC110 - a process tells nobody
            await asyncio.sleep(0.01)


async def test_each_service_serves_its_own_methods_and_ends_with_0_when_it_is_asked(
    start: Starting,
) -> None:
    for name, own in (
        ("command", "eventspine.v1.CommandService"),
        ("processor", "eventspine.v1.AdminService"),
        ("query", "eventspine.v1.QueryService"),
    ):
        child = start(name)
        async with aio.insecure_channel(await child.serving()) as channel:
            assert [await health(channel), await health(channel, own)] == [SERVING, SERVING]
            with pytest.raises(aio.AioRpcError) as other:
                await health(channel, "bank.v1.AccountCommands" if name != "command" else "x.v1.X")
            assert other.value.code() == grpc.StatusCode.NOT_FOUND
        child.ask_to_stop()
        assert await child.ended() == 0, child.errors
        said = [line for line in child.lines if line["logger"] == "eventspine.process"]
        assert [line["message"].split(";")[0] for line in said] == [
            f"serves on {child.address}",
            "asked to stop",
            "stopped",
        ]
        assert {line["service"] for line in said} == {name}
        assert len({line["instance"] for line in said}) == 1


async def test_a_service_whose_store_is_not_open_yet_says_so_and_can_be_stopped(
    start: Starting,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    child = start("command", "--address", address, how="slow")
    async with aio.insecure_channel(address) as channel:
        assert await health(channel) == NOT_SERVING
        with pytest.raises(aio.AioRpcError) as refused:
            await AccountCommandsStub(channel).OpenAccount(opening("c1", "ann"))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert call_error(refused.value).reason == "ERROR_REASON_STORE_UNAVAILABLE"
    child.ask_to_stop()
    assert await child.ended() == 0, child.errors
    assert child.output == ""


async def test_a_stopping_service_says_so_answers_on_and_ends_streams_with_a_reason(
    start: Starting,
) -> None:
    child = start("command", drain_seconds="4")
    async with aio.insecure_channel(await child.serving()) as channel:
        await AccountCommandsStub(channel).OpenAccount(opening("c1", "ann"))
        bulk = CommandServiceStub(channel).Execute()
        request = ExecuteRequest()
        request.commands.add().Pack(opening("c2", "bob"))
        await bulk.write(request)
        assert (await bulk.read()).verdicts[0].result.last_version == 1
        child.ask_to_stop()
        await health_until(channel, NOT_SERVING)
        reply = await AccountCommandsStub(channel).OpenAccount(opening("c3", "cid"))
        assert reply.result.last_version == 1
        with pytest.raises(aio.AioRpcError) as ended:
            await bulk.read()
        assert call_error(ended.value).reason == "ERROR_REASON_SHUTTING_DOWN"
    assert await child.ended() == 0, child.errors
    # What was answered is stored.
    again = start("command")
    async with aio.insecure_channel(await again.serving()) as channel:
        for number, account in ((1, "ann"), (2, "bob"), (3, "cid")):
            request = opening(f"c{number}", account)
            assert (await AccountCommandsStub(channel).OpenAccount(request)).result.replayed


async def test_a_subscription_ends_with_a_reason_and_the_cursor_to_go_on_from(
    start: Starting,
) -> None:
    child = start("query")
    async with aio.insecure_channel(await child.serving()) as channel:
        call = QueryServiceStub(channel).Subscribe(SubscribeRequest(beginning=Empty()))
        while not (message := await call.read()).HasField("caught_up"):
            pass
        child.ask_to_stop()
        with pytest.raises(aio.AioRpcError) as ended:
            while True:
                message = await call.read()
        error = call_error(ended.value)
        assert error.reason == "ERROR_REASON_SHUTTING_DOWN"
        assert error.metadata["cursor"] == message.caught_up.cursor
    assert await child.ended() == 0, child.errors


async def test_a_second_signal_ends_a_draining_service_at_once(start: Starting) -> None:
    child = start("query", drain_seconds="600")
    async with aio.insecure_channel(await child.serving()) as channel:
        child.ask_to_stop(signal.SIGINT)
        await health_until(channel, NOT_SERVING)
    child.ask_to_stop(signal.SIGTERM)
    assert await child.ended() == -signal.SIGTERM


async def refused(child: Child) -> tuple[int, str]:
    code = await child.ended()
    assert "Traceback" not in child.errors
    return code, child.errors


async def test_what_cannot_be_reached_or_used_ends_a_service_with_4_and_a_sentence(
    start: Starting,
) -> None:
    code, said = await refused(start("query", how="refused"))
    assert (code, said) == (
        4,
        "query: no contact point answers; start Cassandra, or name another\n",
    )
    first = start("query")
    address = await first.serving()
    code, said = await refused(start("query", address=address, db="other.db"))
    assert code == 4
    assert f"query: cannot listen on {address}: another process listens there" in said
    code, said = await refused(start("query", metrics_address=address, db="other.db"))
    assert code == 4
    assert f"query: cannot answer Prometheus on {address}" in said


async def test_prometheus_is_told_of_calls_commands_appends_and_the_lag_of_views(
    start: Starting,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    child = start("command", metrics_address=address)
    async with aio.insecure_channel(await child.serving()) as channel:
        for command_id in ("c1", "c1", "c2"):
            await AccountCommandsStub(channel).OpenAccount(opening(command_id, command_id))
        with pytest.raises(aio.AioRpcError):
            await AccountCommandsStub(channel).OpenAccount(opening("c3", "c2"))
    told = await scraped(address)
    labels = 'grpc_method="OpenAccount",grpc_service="bank.v1.AccountCommands",grpc_type="unary"'
    assert told[f"grpc_server_started_total{{{labels}}}"] == 4
    assert told[f"grpc_server_handling_seconds_count{{{labels}}}"] == 4
    assert told['eventspine_commands_total{outcome="stored"}'] == 2
    assert told['eventspine_commands_total{outcome="replayed"}'] == 1
    assert told['eventspine_commands_total{outcome="Refusal"}'] == 1
    assert told["eventspine_append_seconds_count"] == 2
    assert told['eventspine_append_seconds_bucket{le="+Inf"}'] == 2
    child.ask_to_stop()
    assert await child.ended() == 0, child.errors
    child = start("processor", metrics_address=address)
    async with aio.insecure_channel(await child.serving()) as channel:
        reply = await AdminServiceStub(channel).GetStatus(GetStatusRequest())
        assert [end.sequence for end in reply.ends] == [2]
    view = 'eventspine_view_lag_events{build="1",partition="0",view="bank.v1.AccountBalance"}'
    async with asyncio.timeout(SECONDS):
        while (await scraped(address))[view]:  # noqa: ASYNC110 - a process tells nobody
            await asyncio.sleep(0.01)


async def scraped(address: str) -> dict[str, float]:
    """Asks as Prometheus does; returns the samples."""

    def ask() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as reply:
            return reply.read().decode()

    text = await asyncio.to_thread(ask)
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def test_log_lines_are_json_with_the_ids_of_what_they_tell(start: Starting) -> None:
    child = start("command", log_level="debug", instance="one")
    async with aio.insecure_channel(await child.serving()) as channel:
        await AccountCommandsStub(channel).OpenAccount(opening("grep-me", "ann"))
        with pytest.raises(aio.AioRpcError):
            await AccountCommandsStub(channel).OpenAccount(opening("me-too", "ann"))
    child.ask_to_stop()
    assert await child.ended() == 0
    (stored,) = [line for line in child.lines if line.get("command_id") == "grep-me"]
    assert (stored["service"], stored["instance"], stored["level"]) == ("command", "one", "DEBUG")
    assert (stored["stream"], stored["stream_version"]) == ("account/ann", 1)
    (refusal,) = [line for line in child.lines if line.get("command_id") == "me-too"]
    assert (refusal["reason"], refusal["code"]) == ("RefusalError", "ALREADY_EXISTS"), json.dumps(
        refusal
    )
