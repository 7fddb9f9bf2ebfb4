"""What can be set of the processor: how its audit goes about its work."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSettings:
    """Settings of one processor.

    Attributes:
        audit_streams_per_second: How many streams the audit compares a second; 0 for as many as
            possible.
        audit_pause_seconds: How long the auditor rests after a cycle.
        audit_recheck_seconds: How long to wait until what seems to be missing is looked at again:
            longer than positions are kept in memory only.
        audit_confirm_seconds: How long to wait for what was published again to be in the log.
        audit_chains: Of how many streams the chain is recomputed in each cycle, chosen at random.
    """

    audit_streams_per_second: int = field(default=2_000, metadata={"minimum": 0})
    audit_pause_seconds: float = 30.0
    audit_recheck_seconds: float = 3.0
    audit_confirm_seconds: float = 30.0
    audit_chains: int = field(default=10, metadata={"minimum": 0})
