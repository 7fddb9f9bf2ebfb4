"""The tables of the log; promise: all that is said of them."""

ENTRIES_PER_BUCKET = 10_000
"""How many sequences stand in one Cassandra partition of the log: bucket = sequence // this."""

LOG_TABLES = (
    # Written by conditional batches only, like the events. No row ever expires or is deleted.
    # `head` is the last sequence in this bucket, `last_batch` names the batch that wrote it; both
    # are null before the first.
    """CREATE TABLE IF NOT EXISTS {keyspace}.log (
        tenant text,
        partition int,
        bucket bigint,
        sequence bigint,
        head bigint static,
        last_batch blob static,
        stream text,
        version bigint,
        type text,
        encoded blob,
        PRIMARY KEY ((tenant, partition, bucket), sequence)
    )""",
    # Where in the log versions of a stream are: not every version, but the last one of each flush.
    # The others stand a little before the next one that is here. Rows say what never changes, so
    # whoever writes one again writes the same. `bucket` is cut like that of the events, by version.
    """CREATE TABLE IF NOT EXISTS {keyspace}.positions (
        tenant text,
        stream text,
        bucket bigint,
        version bigint,
        partition int,
        sequence bigint,
        PRIMARY KEY ((tenant, stream, bucket), version)
    )""",
    # How far each log partition has come at least. `bucket`: the last bucket that was begun;
    # `positioned`: up to there, all entries are found by `positions`. Each cell is written with its
    # own value as timestamp: it only ever grows, whoever comes late.
    """CREATE TABLE IF NOT EXISTS {keyspace}.log_partitions (
        tenant text,
        partition int,
        bucket bigint,
        positioned bigint,
        PRIMARY KEY ((tenant, partition))
    )""",
)
"""The log, and the index of streams into it."""
