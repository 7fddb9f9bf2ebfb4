"""The reference backend: everything in this process's memory, gone when it ends."""
