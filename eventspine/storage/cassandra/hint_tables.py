"""The tables of hints and of the audit; promise: all that is said of them."""

HINT_TABLES = (
    # Streams that a process is about to change. A window is one Cassandra partition and is deleted
    # as a whole. It is read only after its process died.
    """CREATE TABLE IF NOT EXISTS {keyspace}.hints (
        tenant text,
        writer text,
        window_number bigint,
        stream text,
        PRIMARY KEY ((tenant, writer, window_number), stream)
    )""",
    # The processes that leave hints: few rows, which are overwritten, and deleted with the process.
    """CREATE TABLE IF NOT EXISTS {keyspace}.hint_writers (
        tenant text,
        writer text,
        beat bigint,
        first_window bigint,
        last_window bigint,
        PRIMARY KEY ((tenant), writer)
    )""",
    # How far the auditor has come. One cell a tenant, as JSON, written with the time at which its
    # cycle ended as timestamp: an older mark that comes late loses.
    """CREATE TABLE IF NOT EXISTS {keyspace}.audit (
        tenant text PRIMARY KEY,
        mark text
    )""",
)
"""What repair and audit keep."""
