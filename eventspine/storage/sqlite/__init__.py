"""The embedded backend: everything in one SQLite file that one process owns."""
