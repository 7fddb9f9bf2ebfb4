"""Fills in the templates in `envoy/`; promise: a word that is missing is an error."""

import re
from functools import lru_cache
from pathlib import Path
from string import Template
from textwrap import indent
from typing import Final

_ALONE: Final = re.compile(r"^(?P<indent> *)\$\{(?P<word>\w+)\}\n", re.MULTILINE)


class TemplatesNotFoundError(Exception):
    """The templates are not where they belong; the text says how to get them."""


def fill(template: str, /, **words: object) -> str:
    """Returns a template with its words filled in.

    A word alone on its line gets a block: it is indented to where the word stands, and the line
    goes where the block is empty.

    Args:
        template: The path below `envoy/`; `.yaml` where it has no ending.
        words: What stands for each `${word}`.

    Raises:
        KeyError: The template has a word that is not given.
        TemplatesNotFoundError: There is no such template.
    """

    def block(found: re.Match[str]) -> str:
        text = str(words[found["word"]])
        return indent(text.rstrip("\n") + "\n", found["indent"]) if text.strip() else ""

    # Blocks are put in last: what stands in them is filled in already.
    pieces = []
    at = 0
    text = _read(template)
    for found in _ALONE.finditer(text):
        pieces.append(Template(text[at : found.start()]).substitute(words))
        pieces.append(block(found))
        at = found.end()
    pieces.append(Template(text[at:]).substitute(words))
    return "".join(pieces)


@lru_cache(maxsize=64)
def _read(name: str) -> str:
    """Reads a template.

    Raises:
        TemplatesNotFoundError: There is no such template.
    """
    here = Path(__file__).resolve()
    file_name = name if Path(name).suffix else f"{name}.yaml"
    for folder in (here.parents[2] / "envoy", here.parent / "envoy"):
        file = folder / file_name
        if file.is_file():
            return file.read_text()
    raise TemplatesNotFoundError(
        f"no envoy/{file_name} in {here.parents[2]} or {here.parent}; install eventspine again"
    )
