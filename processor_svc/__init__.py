"""Steps 5 and 6 of the way: sequence and project."""
