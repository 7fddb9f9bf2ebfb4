"""One thing that was looked at on a machine, and what is to be done about it."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing looked at; `verdict` is `ok`, `missing` (it will not work), `warning` or `note`."""

    subject: str
    verdict: str
    text: str
