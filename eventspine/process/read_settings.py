"""Reads settings; promise: every wrong one is named at once, and with its cure.

They are read from, and the first that says a setting counts: the command line; the environment; for
secrets the file that `EVENTSPINE_…_FILE` names, then a file in the folder `EVENTSPINE_SECRETS_DIR`;
and the settings file.
"""

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from inspect import getdoc
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_type_hints

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from eventspine.process.settings import SettingsError

PREFIX = "EVENTSPINE_"
SECRETS_DIR = f"{PREFIX}SECRETS_DIR"
_FOLDER = "secrets_dir"
_FILE = "_FILE"
_OTHERS = ("command_", "processor_", "query_", "test_")
"""What names begin with that may be set for other processes in the same environment."""

Said = Mapping[str, Any]
"""Values by the name of their setting."""

_Kind = TypeVar("_Kind")


class Section(NamedTuple):
    """A class of settings and how its settings are named.

    Attributes:
        kind: A dataclass whose docstring explains its fields under `Attributes:`. A field that is
            itself a dataclass or None is a group of settings of which all or none are said.
        prefix: Stands before each name; may be empty.
        without: Fields that are not read, because another setting says them.
    """

    kind: type[Any]
    prefix: str = ""
    without: tuple[str, ...] = ()


class Setting(NamedTuple):
    """One setting, as people are told of it.

    Attributes:
        name: As in a settings file; the environment has it in capitals, after `EVENTSPINE_`.
        kind: The type of its value.
        default: What holds where nobody says it; None for nothing.
        help: What it means.
        minimum: The least that a number may be; None for any number above 0.
        secret: Whether its value is never shown.
    """

    name: str
    kind: Any
    default: Any
    help: str
    minimum: float | None
    secret: bool


def settings_of(section: Section) -> Iterator[Setting]:
    """Yields the settings of a section, those of its groups one by one."""
    hints, helps = get_type_hints(section.kind), _helps(section.kind)
    blank = _blank(section.kind)
    for one in fields(section.kind):
        name, hint = f"{section.prefix}{one.name}", hints[one.name]
        if one.name in section.without:
            continue
        if (group := _group(hint)) is not None:
            for inner in settings_of(Section(group, f"{name}_")):
                yield inner._replace(kind=inner.kind | None, default=None)
        else:
            default = getattr(blank, one.name, None)
            minimum = one.metadata.get("minimum")
            yield Setting(name, hint, default, helps[one.name], minimum, secret=not one.repr)


def read_settings(
    sections: Sequence[Section], *, given: Said, file: Path | None, environment: Mapping[str, str]
) -> list[Any]:
    """Reads all settings.

    Args:
        sections: The classes; no two settings have the same name.
        given: What the command line says, by name.
        file: A settings file: TOML, or lines `NAME=value` where its name ends in `.env`.
        environment: The environment; other names than ours are left alone.

    Returns:
        One instance of each section's class.

    Raises:
        SettingsError: Some are wrong or unknown. Nothing was done.
    """
    known = {one.name: one for section in sections for one in settings_of(section)}
    said, problems = _said(known, file, environment)
    values: dict[str, Any] = {}
    try:
        values = dict(_model(known)(**{**said, **given}))
    except ValidationError as error:
        problems += [_problem(one, known) for one in error.errors()]
    if problems:
        raise SettingsError("\n".join(problems))
    return [_built(section, values) for section in sections]


def environment_name(name: str) -> str:
    """Returns the name that a setting has in the environment."""
    return f"{PREFIX}{name.upper()}"


def _said(
    known: Mapping[str, Setting], file: Path | None, environment: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Returns what file, folder and environment say, and what of that cannot be.

    Raises:
        SettingsError: The settings file cannot be read, or is not of its form.
    """
    from_environment = _ours(environment)
    from_file = {} if file is None else _read_file(file)
    from_folder, problems = _read_folder(known, from_environment.pop(_FOLDER, ""))
    secrets, unreadable = _secret_files(known, from_environment)
    problems += unreadable
    problems += _unknown(from_environment, known, "the environment")
    problems += _unknown(from_file, known, str(file))
    said = {**from_file, **from_folder, **secrets, **from_environment}
    return {name: value for name, value in said.items() if name in known}, problems


def _model(known: Mapping[str, Setting]) -> type[BaseModel]:
    """Makes the class that checks values."""
    columns: dict[str, Any] = {
        name: (_readable(one.kind), Field(one.default, **_bound(one)))
        for name, one in known.items()
    }
    return create_model("Settings", **columns)


def _readable(kind: Any) -> Any:
    """Returns a type that also reads how lists and pairs are written in an environment."""
    if kind == tuple[str, ...]:
        return Annotated[kind, BeforeValidator(_list)]
    if kind == Mapping[str, int]:
        return Annotated[dict[str, int], BeforeValidator(_pairs)]
    return kind


def _bound(one: Setting) -> dict[str, Any]:
    kinds = get_args(one.kind) if isinstance(one.kind, UnionType) else (one.kind,)
    if not {int, float} & {*kinds}:
        return {}
    return {"gt": 0} if one.minimum is None else {"ge": one.minimum}


def _list(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _pairs(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    pairs = [part.partition(":") for part in _list(value)]
    if not all(colon for _, colon, _ in pairs):
        raise ValueError("write name:number, separated by commas")
    return {name.strip(): number.strip() for name, _, number in pairs}


def _ours(environment: Mapping[str, str | None]) -> dict[str, str]:
    """Returns what is said for us in an environment, by the names of settings."""
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and value
    }


def _read_folder(known: Mapping[str, Setting], path: str) -> tuple[dict[str, str], list[str]]:
    """Reads the files of a folder of secrets, each named as in the environment, in any case."""
    if not path:
        return {}, []
    names = {environment_name(name).lower(): name for name in known}
    try:
        files = [file for file in Path(path).iterdir() if file.name.lower() in names]
        return {names[file.name.lower()]: file.read_text().rstrip("\r\n") for file in files}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{SECRETS_DIR} is {path!r}, which cannot be read: {error}; name a folder"]


def _secret_files(
    known: Mapping[str, Setting], said: dict[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Reads the files that the environment names for secrets, and takes their names out of it."""
    secrets: dict[str, str] = {}
    problems: list[str] = []
    for name in [name for name, one in known.items() if one.secret]:
        path = said.pop(f"{name}{_FILE.lower()}", "")
        try:
            if path:
                secrets[name] = Path(path).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            variable = f"{environment_name(name)}{_FILE}"
            problems.append(f"{variable} is {path!r}, which cannot be read: {error}; name a file")
    return secrets, problems


def _read_file(path: Path) -> dict[str, Any]:
    """Reads a settings file.

    Raises:
        SettingsError: It cannot be read, or is not of its form.
    """
    try:
        if path.name.endswith(".env"):
            with path.open() as lines:
                return dict(_ours(dotenv_values(stream=lines)))
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        text = f"settings file {path}: {error}; name a TOML file or a .env file"
        raise SettingsError(text) from error


def _unknown(names: Iterable[str], known: Mapping[str, Setting], where: str) -> list[str]:
    """Returns a sentence for each name that is no setting of any service."""
    problems = []
    for name in names:
        if name in known or name.startswith(_OTHERS):
            continue
        near = difflib.get_close_matches(name, known, 1)
        cure = f"did you mean {near[0]}?" if near else "--help lists all of them"
        problems.append(f"{name} in {where} is no setting; {cure}")
    return problems


def _problem(error: ErrorDetails, known: Mapping[str, Setting]) -> str:
    name = str(error["loc"][0])
    shown = "" if known[name].secret else f" is {error['input']!r}"
    why = error["msg"].removeprefix("Value error, ")
    why = why[0].lower() + why[1:]
    return f"{name} ({environment_name(name)}){shown}: {why}"


def _built(section: Section, values: Said) -> Any:
    """Makes the instance of a section.

    Raises:
        SettingsError: A group is said in part only.
    """
    hints = get_type_hints(section.kind)
    arguments: dict[str, Any] = {}
    for one in fields(section.kind):
        if one.name in section.without:
            continue
        name = f"{section.prefix}{one.name}"
        group = _group(hints[one.name])
        arguments[one.name] = (
            values[name] if group is None else _built_group(Section(group, f"{name}_"), values)
        )
    return section.kind(**arguments)


def _built_group(section: Section, values: Said) -> Any:
    said = {
        one.name: values[f"{section.prefix}{one.name}"]
        for one in fields(section.kind)
        if values[f"{section.prefix}{one.name}"] is not None
    }
    if not said:
        return None
    try:
        return section.kind(**said)
    except TypeError:
        names = ", ".join(f"{section.prefix}{one.name}" for one in fields(section.kind))
        raise SettingsError(f"of {names} some are said and a needed one is missing") from None


def _group(hint: Any) -> type[Any] | None:
    """Returns the class of a group, which is written `Class | None`; None for a plain setting."""
    return next((part for part in get_args(hint) if is_dataclass(part)), None)  # type: ignore[return-value] # only a class is a type argument


def _blank(kind: type[_Kind]) -> _Kind | None:
    """Returns an instance with all defaults; None where some field has none."""
    try:
        return kind()
    except TypeError:
        return None


def _helps(kind: type[Any]) -> dict[str, str]:
    """Reads what the docstring of a class says of its attributes."""
    helps: dict[str, str] = {}
    name = ""
    _, _, listed = (getdoc(kind) or "").partition("Attributes:\n")
    for line in listed.splitlines():
        text = line.strip()
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = text.partition(": ")
            helps[name] = text
        elif name and text:
            helps[name] += f" {text}"
    return {one.name: helps.get(one.name, "") for one in fields(kind)}
