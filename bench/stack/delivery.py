"""P15: from a command's answer to a subscriber and to a row, against the raw ways underneath."""

import asyncio
import statistics
import time
from collections.abc import Callable

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # the module shows it without saying so
from google.protobuf.empty_pb2 import Empty
from grpc import aio

from bank.v1.account_pb2 import DepositRequest, OpenAccountRequest
from bank.v1.account_pb2_grpc import AccountCommandsStub
from bank.v1.views_pb2 import GetAccountBalanceRequest
from bank.v1.views_pb2_grpc import AccountQueriesStub
from bench.commands import RECORD_BYTES
from bench.report import Found, Line
from bench.rounds import Measured
from bench.stack.goals import P15
from bench.stack.ground import Ground
from eventspine.client.client import Client
from eventspine.process.loop import loop_factory
from eventspine.v1.query_pb2 import STALE_POLICY_FAIL, QueryHeader
from eventspine.v1.subscription_pb2 import EventFilter, SubscribeRequest

ROUNDS = 5
COMMANDS = 100
PACE_SECONDS = 0.01
RAW_TOPIC = "raw"
SECONDS_MAX = 60.0
MILLISECONDS = 1_000


def from_answer_to_readers(ground: Ground) -> list[Found]:
    """Measures P15, a hundred commands a second, one after the other."""
    broker = _Broker(ground)
    raw: list[float] = []
    event: list[float] = []
    row: list[float] = []
    for number in range(ROUNDS):
        raw.append((broker.median(COMMANDS) + ground.raw.row_median(COMMANDS)) * MILLISECONDS)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            paced = _paced(ground.address, f"p15-{time.time_ns()}-{number}")
            to_event, to_row = runner.run(paced)
        event.append(to_event * MILLISECONDS)
        row.append(to_row * MILLISECONDS)
    broker.close()
    setting = f"{1 / PACE_SECONDS:.0f} commands/s, through both tiers"
    ways = (("to a subscriber", event), ("to the row, by a query with the token", row))
    return [
        Line(
            P15,
            Measured(
                tuple(o / r for o, r in zip(ours, raw, strict=True)),
                tuple(ours),
                tuple(raw),
                noisy=False,
            ),
            f"{setting}; {way}",
            unit=" ms",
        )
        for way, ours in ways
    ]


async def _paced(address: str, account: str) -> tuple[float, float]:
    """Returns the median seconds from an answer to the subscriber, and to the row."""
    came: dict[int, float] = {}
    answered: dict[int, float] = {}
    shown: list[float] = []
    request = SubscribeRequest(
        beginning=Empty(), filter=EventFilter(stream=f"account/{account}"), batch_records_max=100
    )

    async def subscriber(client: Client) -> None:
        async for record in client.subscribe(request):
            came[record.stream_version] = time.perf_counter()
            if record.stream_version == COMMANDS + 1:
                return

    async with Client.connect(address) as client, aio.insecure_channel(address) as channel:
        accounts, balances = AccountCommandsStub(channel), AccountQueriesStub(channel)
        opening = OpenAccountRequest(account_id=account, owner="Ann")
        opening.header.command_id = f"open-{account}"
        await accounts.OpenAccount(opening)
        following = asyncio.create_task(subscriber(client))
        for number in range(COMMANDS):
            deposit = DepositRequest(account_id=account, amount_cents=1)
            deposit.header.command_id = f"pay-{account}-{number}"
            result = (await accounts.Deposit(deposit)).result
            began = answered[result.last_version] = time.perf_counter()
            header = QueryHeader(token=result.token, stale_policy=STALE_POLICY_FAIL)
            await balances.GetAccountBalance(
                GetAccountBalanceRequest(header=header, account_id=account)
            )
            shown.append(time.perf_counter() - began)
            await asyncio.sleep(max(0.0, PACE_SECONDS - shown[-1]))
        await asyncio.wait_for(following, SECONDS_MAX)
    waits = [max(0.0, came[version] - at) for version, at in answered.items()]
    return statistics.median(waits), statistics.median(shown)


class _Broker:
    """One topic: a message is produced, and consumed, before the next one."""

    def __init__(self, ground: Ground) -> None:
        server: dict[str, str | int | float | bool] = {
            "bootstrap.servers": ",".join(ground.settings.bootstrap_servers)
        }
        admin = AdminClient(server)
        for made in admin.create_topics([NewTopic(RAW_TOPIC, 1, 1)]).values():
            made.result(SECONDS_MAX)
        self._producer = Producer({**server, "enable.idempotence": True, "linger.ms": 0})
        self._consumer = Consumer({**server, "group.id": "raw", "enable.auto.commit": False})
        self._consumer.assign([TopicPartition(RAW_TOPIC, 0, 0)])
        self.median(10)

    def median(self, count: int) -> float:
        """Returns the median seconds from producing to consuming."""
        return statistics.median(self._once() for _ in range(count))

    def _once(self) -> float:
        began = time.perf_counter()
        self._producer.produce(RAW_TOPIC, bytes(RECORD_BYTES), partition=0)
        self._producer.poll(0)
        _until(lambda: self._consumer.poll(SECONDS_MAX) is not None)
        return time.perf_counter() - began

    def close(self) -> None:
        """Ends both."""
        self._producer.flush(SECONDS_MAX)
        self._consumer.close()


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS_MAX
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("the raw message never came")
