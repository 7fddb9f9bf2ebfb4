"""Runs one seed and prints its trace: `python -m tests.faults.simulation SEED`."""

import sys

from tests.faults.simulation.world import Setting, simulate

result = simulate(int(sys.argv[1]), Setting())
sys.stdout.write("\n".join([*result.trace, *result.broken, ""]))
