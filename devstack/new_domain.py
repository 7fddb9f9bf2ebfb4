"""Writes a small working domain to start from; promise: its tests pass at once.

The files under `templates/new` are what is written, with `<<words>>` filled in, also in their
paths.
"""

import importlib.util
import keyword
import re
import sys
from pathlib import Path

from devstack.stubs import StubsError, make_stubs

_TEMPLATES = Path(__file__).parent / "templates" / "new"
_NAME = re.compile(r"[a-z]{2,}(_[a-z]{2,})*")
_NAME_MAX = 24
_WORD = re.compile(r"<<(\w+)>>")

# Folders of the new project, packages that a domain shares a process with, and `google`, whose
# protos every proto file imports.
_RESERVED = frozenset(
    {
        "bank",
        "bench",
        "command_svc",
        "conftest",
        "devstack",
        "domains",
        "eventspine",
        "flights",
        "google",
        "processor_svc",
        "protos",
        "query_svc",
        "readme",
        "tests",
    }
)


class NewDomainError(ValueError):
    """The domain cannot be written; the text says why and how to cure it. Nothing was written."""


def create_domain(name: str, target: Path) -> list[Path]:
    """Writes a domain and makes its stubs.

    Args:
        name: The name of the domain, its category and its proto package, such as `gift_card`.
        target: The folder to write into. It must be empty, or not exist.

    Returns:
        The files written by template, in order; the stubs are not among them.

    Raises:
        NewDomainError: The name cannot be used, the folder is not empty, or the stubs cannot be
            made; only in the last case are there files.
    """
    _check_name(name)
    _check_target(target)
    words = _words(name)
    written = []
    for template in sorted(_TEMPLATES.rglob("*.tmpl")):
        relative = _filled(str(template.relative_to(_TEMPLATES)), words).removesuffix(".tmpl")
        path = target / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(template.read_text(encoding="utf-8"), words), encoding="utf-8")
        written.append(path)
    try:
        make_stubs(target)
    except StubsError as error:
        raise NewDomainError(f"{target} is written, but has no stubs: {error}") from error
    return written


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _NAME_MAX:
        raise NewDomainError(
            f"{name!r} is no name of a domain; use up to {_NAME_MAX} lower-case letters, words of "
            "two or more joined by _, such as gift_card"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise NewDomainError(f"{name!r} is a word of Python's own; choose another name")
    if name in _RESERVED or name in sys.stdlib_module_names or _installed(name):
        raise NewDomainError(
            f"{name!r} is the name of a module that exists already; choose another name"
        )


def _installed(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    # A folder without code counts as a module too, but has no file: it is in nobody's way.
    return spec is not None and spec.origin is not None


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise NewDomainError(f"{target} is a file; name a folder")
    if target.is_dir() and any(target.iterdir()):
        raise NewDomainError(f"{target} is not empty; name an empty or new folder with --dir")


def _words(name: str) -> dict[str, str]:
    noun = name.replace("_", " ")
    article = "an" if noun[0] in "aeiou" else "a"
    return {
        "name": name,
        "upper": name.upper(),
        "camel": "".join(part.capitalize() for part in name.split("_")),
        "noun": noun,
        "a_noun": f"{article} {noun}",
        "nouns": _plural(noun),
    }


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def _filled(text: str, words: dict[str, str]) -> str:
    return _WORD.sub(lambda found: words[found[1]], text)
