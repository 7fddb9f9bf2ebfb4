"""The goals of the ratio suite on the real stack."""

from bench.goals import Goal

P3 = Goal("P3", "command through both tiers: p50 minus p50 of D2s, ms", 2, 1, 0.5, cost=True)
P4 = Goal("P4", "commands/s, distinct streams / D2, three nodes", 0.75, 0.9, 0.97)
P4S = Goal("P4s", "commands/s, distinct streams / D2, one node", 0.25, 0.45, 0.65)
P5 = Goal("P5", "client CPU of an append / the driver's defaults", 0.5, 0.15, 0.05, cost=True)
P6 = Goal("P6", "64 commands in flight on one stream, commands/s / D2s", 8, 20, 50)
P7 = Goal("P7", "share of our own appends that collide in one process", 0.001, 0, 0, cost=True)
P10 = Goal("P10", "rows of a view written/s / D3", 0.6, 0.8, 0.95)
P11 = Goal("P11", "rebuild, 20 events a key, events/s / D3", 3, 5, 10)
P15 = Goal("P15", "p50 from answer to reader / (raw produce to consume + D3)", 3, 2, 1.3, cost=True)
