"""What every folder of tests may use: the servers of `tests/stack_servers.py`."""

pytest_plugins = ["tests.stack_servers", "tests.stack.fixtures"]
