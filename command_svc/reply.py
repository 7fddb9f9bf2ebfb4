"""Behind serve: outcomes as messages of the contract."""

from collections.abc import Iterable, Iterator

from command_svc.bulk import Verdict
from command_svc.command import Answer
from eventspine.rpc.status import to_failure
from eventspine.rpc.token import encode_token
from eventspine.storage.records import StreamPlace
from eventspine.v1.command_pb2 import CommandResult, CommandVerdict, ExecuteResponse

RESPONSE_VERDICTS_MAX = 500
RESPONSE_BYTES_MAX = 1024 * 1024


class Replies:
    """Makes messages of outcomes, with tokens of one store."""

    def __init__(self, store_id: str) -> None:
        """Makes tokens of a store."""
        self._store_id = store_id

    def result(self, stream: str, answer: Answer) -> CommandResult:
        """Returns the result of a command that was not refused."""
        version = answer.last_version
        if answer.would_append is not None:
            result = CommandResult(stream=stream, last_version=version, replayed=answer.replayed)
            for event in answer.would_append:
                packed = result.would_append.add()
                packed.type_url = f"type.googleapis.com/{event.type.name}"
                packed.value = event.payload
            return result
        return CommandResult(
            stream=stream,
            last_version=version,
            event_count=answer.event_count,
            replayed=answer.replayed,
            projected=answer.projected,
            token=encode_token(self._store_id, (StreamPlace(stream, version),)),
        )

    def verdict(self, verdict: Verdict) -> CommandVerdict:
        """Returns the verdict on a command of the bulk path."""
        _, command_id, stream, outcome = verdict
        if isinstance(outcome, Exception):
            failure = to_failure(outcome)
            return CommandVerdict(command_id=command_id, stream=stream, failure=failure)
        result = self.result(stream, outcome)
        return CommandVerdict(command_id=command_id, stream=stream, result=result)

    def responses(self, verdicts: Iterable[Verdict]) -> Iterator[ExecuteResponse]:
        """Yields the verdicts in messages that are not too large."""
        messages: list[CommandVerdict] = []
        size = 0
        for verdict in verdicts:
            message = self.verdict(verdict)
            messages.append(message)
            # Only conflicts and dry runs are large; the others need not be measured.
            if message.HasField("failure") or message.result.would_append:
                size += message.ByteSize()
            if len(messages) >= RESPONSE_VERDICTS_MAX or size >= RESPONSE_BYTES_MAX:
                yield ExecuteResponse(verdicts=messages)
                messages, size = [], 0
        if messages:
            yield ExecuteResponse(verdicts=messages)
