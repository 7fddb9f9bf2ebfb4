"""The ratio suite: ours over raw, measured in turns."""
