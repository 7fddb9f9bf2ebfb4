"""The protocol, searched: no order of steps and faults breaks a promise; each wrong rule does."""

from collections.abc import Callable
from dataclasses import fields

import pytest

from tests.faults.model import Result, Rules, Scope, search
from tests.faults.model_promises import Promises, steps

COMMANDS = Scope(
    requests=((0, 0, 0), (0, 1, 0), (1, 1, 0), (2, 0, 0)), bucket_size=2, late=True, crashes=2
)
"""Two writers, a command sent to both, and a stream that goes on in a second bucket."""

WINDOWS = Scope(requests=((0, 0, 0), (1, 1, 0)), late=True, crashes=1, repairs=True, sequencers=1)
"""No auditor, and a bus that forgets nothing: repair alone has to find what a crash left."""

AUDITOR = Scope(requests=((0, 0, 0), (1, 0, 0)), lossy=True, audits=True, sequencers=2)
"""Two sequencers, either of them a zombie, and a bus that forgets anything at any time."""

LATE_LOG = Scope(requests=((0, 0, 0), (1, 0, 0)), late=True, lossy=True, audits=True, sequencers=1)
"""Extensions of the log that arrive after their sequencer took over anew."""

TAILS = Scope(requests=((0, 0, 0), (1, 1, 1)), late=True, sequencers=2)
"""Two streams in one log partition, so that two sequencers can differ on what comes next."""

FOLLOWERS = Scope(requests=((0, 0, 0), (1, 1, 0), (2, 0, 0)), projectors=2, grown=True)
"""Two projectors on one row, and a subscriber; the writers' clocks differ."""

TO_THE_LOG = Scope(
    requests=((0, 0, 0), (0, 1, 0)), late=True, crashes=1, lossy=True, audits=True, sequencers=2
)
"""One command sent twice, with everything that can befall it on its way to the log."""

TO_THE_VIEW = Scope(requests=((0, 0, 0), (1, 1, 0)), sequencers=1, projectors=1)
"""Two commands, from two writers through a sequencer to one row and one subscriber."""

SCOPES = {
    "commands": COMMANDS,
    "windows": WINDOWS,
    "auditor": AUDITOR,
    "late log": LATE_LOG,
    "tails": TAILS,
    "followers": FOLLOWERS,
    "to the log": TO_THE_LOG,
    "to the view": TO_THE_VIEW,
}

CONTROLS = {
    "no_command_row": (COMMANDS, "told that it failed and is stored"),
    "retry_on_another_host_is_a_conflict": (COMMANDS, "told that it failed and is stored"),
    "unknown_is_a_failure": (COMMANDS, "told that it failed and is stored"),
    "a_read_settles_an_unknown": (COMMANDS, "told that it failed and is stored"),
    "acknowledged_before_stored": (COMMANDS, "acknowledged at 1 and is at None"),
    "appended_without_condition": (COMMANDS, "acknowledged at 1 and is at None"),
    "command_looked_up_in_the_newest_bucket_only": (COMMANDS, "took effect twice"),
    "two_tails": (COMMANDS, "has the versions [(1, 0), (2, "),
    "no_auditor": (AUDITOR, "at rest the log has () of"),
    "positions_trusted_over_the_log": (AUDITOR, "at rest the log has ((0, 1), (0, 1))"),
    "flushed_place_before_positions": (AUDITOR, "at rest the log has ((0, 1), (0, 1))"),
    "default_timestamps_of_positions": (AUDITOR, "at rest the log has ((0, 1), (0, 2), (0, 2))"),
    "log_extended_without_condition": (TAILS, "at rest the log has ("),
    "positions_before_the_log_write": (AUDITOR, "at rest the log has () of"),
    "republished_counts_as_verified": (AUDITOR, "said to be verified up to 1, not []"),
    "first_version_not_looked_up": (AUDITOR, "at rest the log has ((0, 1), (0, 1))"),
    "offsets_before_the_log_write": (WINDOWS, "at rest the log has () of"),
    "repair_looks_once": (WINDOWS, "at rest the log has () of"),
    "row_without_its_sequence": (FOLLOWERS, "at rest the row is ((0, 1), (0, 1)"),
    "default_timestamps_of_rows": (FOLLOWERS, "at rest the row is ((0, 1),)"),
    "progress_before_rows": (FOLLOWERS, "at rest the row is ((0, 2), (0, 3))"),
    "cursor_by_time": (FOLLOWERS, "at rest the subscriber got"),
    "bus_trusted_over_the_log": (FOLLOWERS, "the subscriber got (2,)"),
}
"""By switch, where it has to be caught, and by which words."""


def searched(scope: Scope, rules: Rules) -> Result:
    return search(scope, rules, steps, Promises().broken)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCOPES)
def test_no_order_of_steps_and_faults_breaks_a_promise(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    result = searched(SCOPES[name], Rules())
    record_property("model states", f"{name}: {result.states:,} states, all that there are")
    assert result.violation == "", "\n".join((result.violation, *result.trace))
    assert result.states > 5_000


@pytest.mark.parametrize("switch", CONTROLS)
def test_the_search_catches_what_is_done_wrongly(
    switch: str, record_property: Callable[[str, object], None]
) -> None:
    scope, words = CONTROLS[switch]
    result = searched(scope, Rules(**{switch: True}))
    caught = f"{switch}: caught after {result.states:,} states, {len(result.trace)} steps"
    record_property("model states", caught)
    assert words in result.violation, "\n".join((result.violation, *result.trace))


def test_every_switch_of_the_model_is_a_control() -> None:
    assert [field.name for field in fields(Rules)] == list(CONTROLS)
