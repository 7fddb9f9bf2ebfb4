"""The published limits of requests; promise: what is over one is refused, never by a crash.

The comments of the protos name the same numbers. Units are in the names.
"""

from typing import Final

ID_BYTES_MAX: Final = 200
"""Of a command id, a stream's id, and whatever has their form; in UTF-8."""

CATEGORY_CHARACTERS_MAX: Final = 64
"""Of a stream's category, all of them ASCII."""

STREAM_BYTES_MAX: Final = CATEGORY_CHARACTERS_MAX + 1 + ID_BYTES_MAX
"""Of a whole stream name, `category/id`."""

METADATA_BYTES_MAX: Final = 16 * 1024
"""Of a command's metadata, keys and values together."""

EVENT_BYTES_MAX: Final = 1024 * 1024
"""Of one event's payload."""

COMMAND_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one command, of all events of one, and of all commands of one batch."""

EVENTS_MAX: Final = 1_000
"""Events that one command may store."""

COMMANDS_MAX: Final = 1_000
"""Commands in one message of the bulk path."""

REQUEST_BYTES_MAX: Final = COMMAND_BYTES_MAX + 64 * 1024
"""Of one request message: a largest command with its header around it."""

RECEIVE_BYTES_MAX: Final = 2 * COMMAND_BYTES_MAX
"""Of what the transport takes in at all. Between the two a request gets an error with details."""

CONFLICT_RECORDS_MAX: Final = 100
"""Records that a version conflict tells of."""

CONFLICT_BYTES_MAX: Final = 256 * 1024
"""Of the records that a version conflict tells of, on the bulk path."""

STATUS_BYTES_MAX: Final = 4 * 1024
"""Of an encoded google.rpc.Status. It travels as a header, in base64, beside the message; clients
of most languages take 8 KiB of headers."""

MESSAGE_BYTES_MAX: Final = 900
"""Of a status message as gRPC sends it, percent-encoded."""

WAIT_SECONDS_MIN: Final = 0.001
WAIT_SECONDS_MAX: Final = 30.0
WAIT_SECONDS_DEFAULT: Final = 5.0
"""Of the wait for a view, by a query or by a command's answer."""

HEARTBEAT_SECONDS_MIN: Final = 0.1
HEARTBEAT_SECONDS_MAX: Final = 300.0
HEARTBEAT_SECONDS_DEFAULT: Final = 10.0
"""Of a subscription's silence."""

BATCH_RECORDS_MAX: Final = 1_000
BATCH_RECORDS_DEFAULT: Final = 100
"""Of one batch of a subscription."""

FILTER_VALUES_MAX: Final = 100
"""Categories or types that a filter names."""

TOKEN_BYTES_MAX: Final = 64 * 1024
"""Of a token or cursor that a request carries, several joined ones included."""

VIOLATIONS_MAX: Final = 20
"""Fields that one error names."""
