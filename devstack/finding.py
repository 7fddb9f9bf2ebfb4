"""One thing that was looked at on a machine, and what is to be done about it."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing looked at. `verdict` is `ok`, `missing` (something will not work) or `note`."""

    subject: str
    verdict: str
    text: str
