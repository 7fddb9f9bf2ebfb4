"""The tables of a store file; promise: one place that says what is in it, by format version.

A stream is named in full in each table, not by a number: a store has about as many streams as it
has things that happen to them, so that a table of names would cost a write for each.
"""

APPLICATION_ID = 0x45565350
"""The letters EVSP in the file's header: the file is an Eventspine store."""

FORMAT = 1
"""The format version in the file's header. A file of another one is refused."""

EVENT_TABLES = (
    # The sequence is the place in the log; the index keeps versions unique.
    """CREATE TABLE events (
        sequence INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        stream_version INTEGER NOT NULL,
        type TEXT NOT NULL,
        encoded BLOB NOT NULL
    )""",
    "CREATE UNIQUE INDEX events_by_stream ON events (stream, stream_version)",
    """CREATE TABLE commands (
        number INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        command_id TEXT NOT NULL,
        digest BLOB NOT NULL,
        last_version INTEGER NOT NULL,
        event_count INTEGER NOT NULL,
        append_time_us INTEGER NOT NULL
    )""",
    "CREATE UNIQUE INDEX commands_by_id ON commands (stream, command_id)",
    """CREATE TABLE snapshots (
        stream TEXT PRIMARY KEY,
        stream_version INTEGER NOT NULL,
        code_version INTEGER NOT NULL,
        chain BLOB NOT NULL,
        state BLOB NOT NULL
    ) WITHOUT ROWID""",
)
"""Events, commands and snapshots."""

IDENTITY_TABLES = (
    # One row. `restoring` is 1 from the first to the last step of a restore into the file.
    """CREATE TABLE store (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        store_id TEXT NOT NULL,
        restoring INTEGER NOT NULL
    )""",
    """CREATE TABLE ancestors (
        store_id TEXT NOT NULL,
        partition INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        PRIMARY KEY (store_id, partition)
    ) WITHOUT ROWID""",
)
"""The identity of the store and of those that it was restored from."""

VIEW_TABLES = (
    # Builds get small numbers, which the tables below use. A dropped build keeps its row, so that a
    # late save cannot bring it back.
    """CREATE TABLE view_builds (
        id INTEGER PRIMARY KEY,
        build_id TEXT NOT NULL UNIQUE,
        dropped INTEGER NOT NULL
    )""",
    # A deleted partial stays, as NULL, so that an event that comes again changes nothing.
    """CREATE TABLE view_rows (
        build INTEGER NOT NULL,
        key BLOB NOT NULL,
        partition INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        encoded BLOB,
        PRIMARY KEY (build, key, partition)
    ) WITHOUT ROWID""",
    """CREATE TABLE view_progress (
        build INTEGER NOT NULL,
        partition INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        PRIMARY KEY (build, partition)
    ) WITHOUT ROWID""",
    """CREATE TABLE view_parked (
        build INTEGER NOT NULL,
        key BLOB NOT NULL,
        partition INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        stream TEXT NOT NULL,
        stream_version INTEGER NOT NULL,
        error TEXT NOT NULL,
        waiting TEXT NOT NULL,
        parked_time_us INTEGER NOT NULL,
        PRIMARY KEY (build, key, partition)
    ) WITHOUT ROWID""",
    "CREATE TABLE views (view TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE builds (
        view TEXT NOT NULL,
        number INTEGER NOT NULL,
        code_version INTEGER NOT NULL,
        state TEXT NOT NULL,
        paused INTEGER NOT NULL,
        PRIMARY KEY (view, number)
    ) WITHOUT ROWID""",
)
"""Rows, progress and parked keys of view builds, and the builds of each view."""

TABLES = EVENT_TABLES + IDENTITY_TABLES + VIEW_TABLES
