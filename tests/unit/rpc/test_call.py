"""A call before its handler: deadlines that have passed, and what a handler gets to see."""

import pytest

from eventspine.rpc.call import call_context
from eventspine.rpc.errors import DeadlineExceededError


class Late:
    """A call of the transport with some seconds left."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds

    def time_remaining(self) -> float | None:
        return self.seconds

    def cancelled(self) -> bool:
        return False


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_work_does_not_begin_after_the_deadline(seconds: float) -> None:
    with pytest.raises(DeadlineExceededError, match="allow more time"):
        call_context(Late(seconds))


def test_a_handler_sees_a_deadline_only_where_there_is_one() -> None:
    context = call_context(Late(None))
    assert context.time_remaining() is None
    remaining = call_context(Late(2.5)).time_remaining()
    assert remaining is not None
    assert 0 < remaining <= 2.5
