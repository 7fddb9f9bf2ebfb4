"""Steps 7 and 8 of the way: serve, watch, subscribe."""
