"""Drills: what operators do when a node, or the whole store, is gone; on the real stack, timed."""
