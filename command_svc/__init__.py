"""Steps 1 to 4 of the way: serve, decide, append, publish."""
