"""`python -m devstack.stack up|down|fetch`: the real stack on this machine, in the foreground.

Exit codes: 0 done, or stopped by Ctrl-C once all was up · 2 called wrongly · 4 something that is
needed is missing, taken or has failed · 130 stopped by Ctrl-C before all was up.
"""

import argparse
import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NoReturn

from devstack.cli.failure import EXIT_INTERRUPTED, EXIT_UNREACHABLE, EXIT_USAGE
from devstack.stack import cassandra, kafka
from devstack.stack.cassandra import CommitLogSync
from devstack.stack.down import stop_all_leftovers, stop_stack
from devstack.stack.errors import ShapeError, StackError
from devstack.stack.jars import fetched
from devstack.stack.java import find_java
from devstack.stack.platform import ADDRESS, front_address, run_platform
from devstack.stack.servers import Servers
from devstack.stack.services import Instances
from devstack.stack.steps import steps
from eventspine.process.domains import SHIPPED, DomainNotFoundError, find_domains
from eventspine.rpc.address import AddressError

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DURABLE: Final = {
    CommitLogSync.GROUP: "acknowledges a write when it is on the disk",
    CommitLogSync.PERIODIC: "acknowledges a write up to 10 s before it is on the disk",
}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Runs one of the commands; exits with one of the codes above.

    Args:
        arguments: What was typed; None takes it from the process.
    """
    given = _parser().parse_args(arguments)
    try:
        sys.exit(given.run(given))
    except (ShapeError, AddressError, DomainNotFoundError) as error:
        code, text = EXIT_USAGE, str(error)
    except (StackError, OSError) as error:
        code, text = EXIT_UNREACHABLE, str(error)
    sys.stderr.write(f"stack: {text}\n")
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devstack.stack", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="up|down|fetch")
    up = commands.add_parser("up", help="start everything, and stop it on Ctrl-C")
    up.set_defaults(run=_up)
    up.add_argument("--nodes", type=int, default=1, help="Cassandra nodes: 1 or 3")
    up.add_argument("--brokers", type=int, default=1, help="Kafka brokers: 1 or 3")
    for service, default in (("command-services", 1), ("processors", 1), ("query-services", 1)):
        up.add_argument(f"--{service}", type=int, default=default, help="processes: 1 to 20")
    up.add_argument("--servers-only", action="store_true", help="start Cassandra and Kafka alone")
    up.add_argument("--address", default=ADDRESS, help="where clients call; port 0 is a free one")
    up.add_argument(
        "--domain", dest="domains", action="append", metavar="module:ATTRIBUTE", help="repeat"
    )
    up.add_argument("--state", type=Path, help="keep the data in this folder; else thrown away")
    up.add_argument("--quick", action="store_true", help="start quicker, and do less a second")
    up.add_argument(
        "--commitlog-sync",
        choices=[str(sync) for sync in CommitLogSync],
        default=str(CommitLogSync.GROUP),
        help="group: a write is on the disk before it is acknowledged; periodic: up to 10 s after",
    )
    down = commands.add_parser("down", help="stop what launchers that have died left behind")
    down.set_defaults(run=_down)
    down.add_argument("--state", type=Path, help="stop this stack, also when its launcher is well")
    fetch = commands.add_parser("fetch", help="fetch the servers, so that later starts need not")
    fetch.set_defaults(run=_fetch)
    return parser


def _up(given: argparse.Namespace) -> int:
    if not (given.nodes and given.brokers):
        raise ShapeError("a stack needs at least one Cassandra node and one Kafka broker")
    given.commitlog_sync = CommitLogSync(given.commitlog_sync)
    given.instances = Instances(
        command=given.command_services, processor=given.processors, query=given.query_services
    )
    given.domains = given.domains or list(SHIPPED)
    find_domains(given.domains)
    is_up = asyncio.Event()
    try:
        asyncio.run(_run(given, is_up))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 0 if is_up.is_set() else EXIT_INTERRUPTED
    return 0


async def _run(given: argparse.Namespace, is_up: asyncio.Event) -> None:
    _cancel_on_signals()
    front = "" if given.servers_only else front_address(given.address)
    async with AsyncExitStack() as ending:
        with steps("starting") as say:
            servers = Servers(
                nodes=given.nodes,
                brokers=given.brokers,
                state=given.state,
                sync=given.commitlog_sync,
                quick=given.quick,
                say=say,
            )
            ending.push_async_callback(_stop, servers)
            await servers.start()
            if front:
                await run_platform(servers, given.instances, address=front, domains=given.domains)
        is_up.set()
        for line in _told(servers, given, front):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        await servers.watch()


async def _stop(servers: Servers) -> None:
    if servers.children:
        with steps("stopping") as say:
            say("stopping")
            await servers.stop()
            say("all is stopped")


def _cancel_on_signals() -> None:
    """Has the first signal cancel the work, so that all is stopped; a second ends the process.

    What a second signal leaves behind is stopped by the guard.
    """
    loop = asyncio.get_running_loop()
    work = asyncio.current_task()
    assert work is not None

    def stop() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
        work.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop)


def _told(servers: Servers, given: argparse.Namespace, front: str) -> list[str]:
    kept = "kept" if given.state is not None else "thrown away in the end; keep it with --state DIR"
    return [
        *([f"eventspine: {front} (gRPC, gRPC-Web and JSON)"] if front else []),
        f"Cassandra: {', '.join(servers.contact_points)} ({DURABLE[given.commitlog_sync]})",
        f"Kafka: {servers.bootstrap}",
        f"state: {servers.home.folder} ({kept})",
        f"logs: {servers.home.folder}/*/out.log",
        "all is up; Ctrl-C stops it",
    ]


def _down(given: argparse.Namespace) -> int:
    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")

    if given.state is not None:
        stop_stack(given.state.resolve(), say)
    else:
        stop_all_leftovers(say)
    return 0


def _fetch(given: argparse.Namespace) -> int:
    find_java()
    with steps("fetching") as say:
        for release in (cassandra.RELEASE, kafka.RELEASE):
            say(f"{release.name} {release.version} is in {fetched(release, say)}")
    return 0


if __name__ == "__main__":
    main()
