"""The tables of events, snapshots and of the store itself; promise: all that is said of them."""

STORE_TABLES = (
    # The row `store`: what is fixed when the keyspace is made, and the id that those of its tenants
    # follow from. A row `tenant/<tenant>` for each tenant whose events were restored: the id of its
    # store from then on, and nothing else.
    """CREATE TABLE IF NOT EXISTS {keyspace}.store (
        only text PRIMARY KEY,
        store_id text,
        log_partitions int,
        events_per_bucket int,
        consistency text
    )""",
    # The stores that a tenant's was restored from, each with the ends of its log partitions; `only`
    # is the name of the tenant's row.
    """CREATE TABLE IF NOT EXISTS {keyspace}.ancestors (
        only text,
        store_id text,
        ends frozen<list<bigint>>,
        PRIMARY KEY (only, store_id)
    )""",
)
"""The identity of the store."""

RESTORING = ("ALTER TABLE {keyspace}.store ADD IF NOT EXISTS restoring boolean",)
"""Of a tenant's row: true from the first to the last step of a restore; null otherwise."""

EVENT_TABLES = (
    # Written by conditional batches only: a plain write to one of these cells, whatever its
    # timestamp, would not be ordered with them. No row ever expires or is deleted.
    # A row of kind 0 is a command (version 0); one of kind 1 an event (command_id empty).
    # `head` and `chain` are the last version in this bucket and its hash; null before the first.
    """CREATE TABLE IF NOT EXISTS {keyspace}.events (
        tenant text,
        stream text,
        bucket bigint,
        kind tinyint,
        version bigint,
        command_id text,
        head bigint static,
        chain blob static,
        digest blob,
        last_version bigint,
        event_count int,
        append_time_us bigint,
        type text,
        encoded blob,
        PRIMARY KEY ((tenant, stream, bucket), kind, version, command_id)
    )""",
    # All of a snapshot is one cell, written with its version as timestamp: the latest wins, whole.
    """CREATE TABLE IF NOT EXISTS {keyspace}.snapshots (
        tenant text,
        stream text,
        packed blob,
        PRIMARY KEY ((tenant, stream))
    )""",
)
"""Events with the commands that caused them, and snapshots."""
