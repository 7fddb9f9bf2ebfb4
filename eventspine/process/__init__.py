"""A process that serves: what it is put together from, how it starts, says so, and ends."""
