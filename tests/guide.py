"""What a page of the documentation tells its reader to type."""

import re


def blocks(text: str, kind: str) -> list[str]:
    """Returns the fenced blocks of a kind, such as `python`, in their order."""
    found: list[str] = re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return found


def commands(text: str) -> list[str]:
    """Returns the commands of all `console` blocks, in their order."""
    lines = "".join(blocks(text, "console")).splitlines()
    return [line.removeprefix("$ ") for line in lines]
