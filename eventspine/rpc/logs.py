"""Log lines of the services: one JSON object a line; promise: a command id can be grepped for.

Every line of a call that failed has `method`, `code` and `reason`, and `command_id` and `stream`
where the request names them.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

FIELDS: Final = "eventspine_fields"
"""The attribute of a log record that holds a line's own fields."""


OWN: Final = ("command_svc", "devstack", "eventspine", "processor_svc", "query_svc")
"""The roots of our own loggers."""


class JsonLines(logging.Formatter):
    """Formats a log record as one JSON object on one line, tracebacks included."""

    def __init__(self, **fixed: str) -> None:
        """Puts `fixed` into every line."""
        super().__init__()
        self._fixed = fixed

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line: time (UTC), level, logger, message, then the line's own fields."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            **self._fixed,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def write(
    log: logging.Logger,
    level: int,
    message: str,
    *,
    error: BaseException | None = None,
    **fields: object,
) -> None:
    """Writes a line with fields; with the traceback of `error` where one is given."""
    log.log(level, message, exc_info=error, extra={FIELDS: fields})


def configure(level: int = logging.WARNING, stream: TextIO | None = None, **fixed: str) -> None:
    """Sends the lines of this process to `stream` (standard error by default), from `level` on.

    Of libraries only warnings and worse are told, whatever the level. Called once, by the process's
    entry. Replaces what was configured before. `fixed` stands in every line, such as the service
    and its instance.
    """
    output = logging.StreamHandler(stream or sys.stderr)
    output.setFormatter(JsonLines(**fixed))
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[output], force=True)
    for name in OWN:
        logging.getLogger(name).setLevel(level)
