"""`make bench`: measures the goals and prints where each stands; `python -m bench P17 P20` some.

The raw rounds are kept as JSON under var/bench/.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import (
    calls,
    commands,
    deliveries,
    edge,
    encodings,
    history,
    platform_figures,
    report,
    streams,
)
from bench.report import FOLDER, Found, say
from eventspine.process.loop import settle_collector

PARTS: dict[tuple[str, ...], Callable[[Path], list[Found]]] = {
    ("P16", "P17"): commands.raw_commits,
    ("P18",): commands.against_peer,
    ("P8",): history.cold_loads,
    ("P9",): history.folds,
    ("P11",): history.rebuilds,
    ("P13",): streams.catch_up,
    ("P1", "P2", "P21"): edge.through_envoy,
    ("P14",): deliveries.deliveries,
    ("P20", "BULK"): calls.over_grpc,
    ("P22",): encodings.encodings,
    ("REPLAY",): platform_figures.replay,
    ("START",): platform_figures.start_up,
}


def main() -> None:
    """Measures what is named on the command line, or all."""
    wanted = {name.upper() for name in sys.argv[1:]}
    unknown = wanted - {name for names in PARTS for name in names}
    if unknown:
        known = ", ".join(name for names in PARTS for name in names)
        sys.exit(f"bench: nothing is called {', '.join(sorted(unknown))}; there are: {known}")
    # As `eventspine dev` does.
    settle_collector()
    FOLDER.mkdir(parents=True, exist_ok=True)
    # In the repository's own folder, because /tmp may be in memory, where an fsync costs nothing.
    folder = Path(tempfile.mkdtemp(dir=FOLDER, prefix="files-"))
    found: list[Found] = []
    began = time.perf_counter()
    try:
        for names, measure in PARTS.items():
            if not wanted or wanted & set(names):
                say(f"measuring {', '.join(names)} ...")
                part = folder / names[0]
                part.mkdir()
                found += measure(part)
                shutil.rmtree(part)
    finally:
        shutil.rmtree(folder)
    say("\n" + ", ".join(f"{name} {value}" for name, value in report.environment().items()))
    say(report.table(found))
    say(f"{time.perf_counter() - began:.0f} s; raw rounds in {report.save(found)}")


if __name__ == "__main__":
    main()
