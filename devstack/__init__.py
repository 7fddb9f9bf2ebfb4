"""Runs the platform: embedded composition, the tour, and the command line."""
