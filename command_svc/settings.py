"""What can be set of the command service, with the limits that hold it together under load."""

from dataclasses import dataclass

from eventspine.storage.stack import DEFAULT_TENANT


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSettings:
    """Settings of one command service.

    Attributes:
        tenant: The tenant that owns every stream of this process.
        cached_streams_max: How many idle streams keep their state in memory.
        recent_commands_max: How many commands are remembered in memory, so that a repeated one is
            answered without the store.
        waiting_commands_max: How many commands may be on their way at once in this process.
        waiting_bytes_max: How many bytes they may have in all.
        bulk_commands_max: How many of them may come from one bulk stream.
        groups_in_flight_max: How many groups of appends are sent to the store at once. Two: one is
            being stored while the next is being decided.
        group_commands_max: How many commands a group takes before it is sent.
        group_bytes_max: How many bytes of events a group takes before it is sent.
        loads_in_flight_max: How many cold streams are loaded at once.
        attempts_max: How often a command is decided when other processes win its stream.
        snapshot_events: After how many events a stream's state is kept as a snapshot.
        unknown_wait_seconds: How long a caller without a deadline waits for an unknown outcome.
        resend_pause_seconds_max: How long the pauses grow at most between two sendings of an append
            whose outcome is unknown.
        drain_seconds: How long a stop waits for the commands that are on their way.
        hint_tick_seconds: How long hints of appends are collected before they are written.
        hint_window_seconds: How long one window of hints is filled.
        beat_seconds: How often a process tells that it lives, and looks at the others.
        dead_seconds: After how long without a beat a process is taken for dead.
        late_seconds: How long after that its appends may still come to be stored. To be longer than
            every time-out of the store.
    """

    tenant: str = DEFAULT_TENANT
    cached_streams_max: int = 10_000
    recent_commands_max: int = 100_000
    waiting_commands_max: int = 20_000
    waiting_bytes_max: int = 256 * 1024 * 1024
    bulk_commands_max: int = 2_000
    groups_in_flight_max: int = 2
    group_commands_max: int = 500
    group_bytes_max: int = 8 * 1024 * 1024
    loads_in_flight_max: int = 256
    attempts_max: int = 5
    snapshot_events: int = 500
    unknown_wait_seconds: float = 10.0
    resend_pause_seconds_max: float = 2.0
    drain_seconds: float = 10.0
    hint_tick_seconds: float = 0.005
    hint_window_seconds: float = 5.0
    beat_seconds: float = 1.0
    dead_seconds: float = 5.0
    late_seconds: float = 30.0
