"""The contract as a product: linted, commented in the words that were agreed, and never broken."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from eventspine.v1 import options_pb2

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
RELEASED = Path(__file__).parent / "released.binpb"
BUF = Path(sys.executable).with_name("buf")

CODES = {code.name for code in grpc.StatusCode}
BANNED = re.compile(r"\b(aggregate id|position|offset|TO-?DO|FIX-?ME|deprecated)\b", re.IGNORECASE)


class Element(NamedTuple):
    """A commented element of the contract.

    Attributes:
        name: Its full name.
        comment: What stands above it, as one line.
        descriptor: Its descriptor.
    """

    name: str
    comment: str
    descriptor: object


def buf(*words: str | Path) -> str:
    """Runs buf; returns what it found."""
    done = subprocess.run([BUF, *words], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode in (0, 100), done.stderr
    return done.stdout


@cache
def files() -> Sequence[FileDescriptorProto]:
    """Returns the files of the contract with their comments, without imports."""
    done = subprocess.run(
        [BUF, "build", "protos", "--as-file-descriptor-set", "--exclude-imports", "-o", "-"],
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    return list(FileDescriptorSet.FromString(done.stdout).file)


def elements(file: FileDescriptorProto) -> Iterator[Element]:
    """Iterates over messages, fields, services and methods of a file, with their comments."""
    comments = {
        tuple(place.path): " ".join(place.leading_comments.split())
        for place in file.source_code_info.location
    }
    for index, message in enumerate(file.message_type):
        yield from _messages(comments, (4, index), file.package, message)
    for index, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield Element(name, comments.get((6, index), ""), service)
        for place, method in enumerate(service.method):
            path = (6, index, 2, place)
            yield Element(f"{name}.{method.name}", comments.get(path, ""), method)


def _messages(
    comments: dict[tuple[int, ...], str],
    path: tuple[int, ...],
    scope: str,
    message: DescriptorProto,
) -> Iterator[Element]:
    if message.options.map_entry:
        return
    name = f"{scope}.{message.name}"
    yield Element(name, comments.get(path, ""), message)
    for index, field in enumerate(message.field):
        yield Element(f"{name}.{field.name}", comments.get((*path, 2, index), ""), field)
    for index, nested in enumerate(message.nested_type):
        yield from _messages(comments, (*path, 3, index), name, nested)


def all_elements() -> list[Element]:
    return [element for file in files() for element in elements(file)]


def test_the_contract_is_free_of_findings_and_formatted() -> None:
    assert buf("lint", "protos") == ""
    assert buf("format", "--diff", "--exit-code", "protos") == ""


def test_the_contract_breaks_nothing_that_was_released() -> None:
    assert buf("breaking", "protos", "--against", RELEASED) == ""


@pytest.mark.parametrize(
    ("file", "before", "after", "found"),
    [
        (
            "eventspine/v1/record.proto",
            "uint64 stream_version = 2;",
            "int32 stream_version = 2;",
            "stream_version",
        ),
        ("eventspine/v1/record.proto", "string stream = 1;", "string lane = 1;", "stream"),
        (
            "bank/v1/account.proto",
            "  // Who owns it. Required. 1 to 200 characters.\n  string owner = 3;\n",
            "",
            '"owner"',
        ),
    ],
    ids=["another type", "another name", "removed"],
)
def test_a_change_that_breaks_clients_is_found(
    tmp_path: Path, file: str, before: str, after: str, found: str
) -> None:
    changed = tmp_path / "protos"
    shutil.copytree(PROTOS, changed)
    text = (changed / file).read_text()
    assert before in text
    (changed / file).write_text(text.replace(before, after, 1))
    assert found in buf("breaking", changed, "--against", RELEASED)


def test_every_element_has_a_comment_that_is_a_sentence() -> None:
    for element in all_elements():
        assert element.comment, element.name
        assert element.comment[0].isupper() or element.comment[0] in "`0123456789", element.name
        assert element.comment.rstrip("`")[-1] in ".)", element.name
        assert not BANNED.search(element.comment), element.name


def test_every_field_that_a_caller_sends_is_required_or_optional() -> None:
    for element in all_elements():
        if ".v1." in element.name and isinstance(element.descriptor, FieldDescriptorProto):
            owner = element.name.split(".")[-2]
            in_oneof = element.descriptor.HasField("oneof_index")
            real_oneof = in_oneof and not element.descriptor.proto3_optional
            if owner.endswith("Request") and not real_oneof:
                words = ("Required", "Optional")
                stated = any(word in element.comment for word in words)
                reported = "Absence means" in element.comment or "absence means" in element.comment
                assert stated or reported, element.name


def test_every_command_says_whether_it_may_be_repeated() -> None:
    for element, service in _methods():
        if service.options.HasExtension(options_pb2.commands):
            assert re.search(
                r"Safe to repeat with (the same|any) `header.command_id`", (element.comment)
            ), element.name
        elif service.options.HasExtension(options_pb2.queries):
            whole = next(e for e in all_elements() if e.name == element.name.rpartition(".")[0])
            assert "safe to repeat" in whole.comment, whole.name
        elif service.name != "QueryService":
            assert re.search(r"[Rr]epeat", element.comment), element.name


def test_every_method_names_its_errors_by_codes_that_exist() -> None:
    for element, service in _methods():
        if service.name == "CommandService" and element.name.endswith(".Execute"):
            errors = element.comment
        elif element.name.endswith((".GetStatus", ".ListViews")):
            continue
        else:
            assert "Errors:" in element.comment, element.name
            errors = element.comment.partition("Errors:")[2]
        named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|\bABORTED\b|\bUNAVAILABLE\b", errors))
        named = {code for code in named if code not in ("VIEW_BEHIND",)}
        assert named <= CODES, element.name
        assert named or " as " in errors or errors.startswith(" as"), element.name


def _methods() -> Iterator[tuple[Element, ServiceDescriptorProto]]:
    for file in files():
        found = {element.name: element for element in elements(file)}
        for service in file.service:
            for method in service.method:
                yield found[f"{file.package}.{service.name}.{method.name}"], service


def test_amounts_and_times_have_their_unit_in_their_name() -> None:
    unit = re.compile(r"_(cents|seconds|minutes|bytes)$")
    for element in all_elements():
        if isinstance(element.descriptor, FieldDescriptorProto):
            for word, ending in (("cents", "_cents"), ("minutes", "_minutes")):
                if f"In {word}" in element.comment:
                    assert unit.search(element.descriptor.name), element.name
                    assert element.descriptor.name.endswith(ending), element.name


def test_packages_are_their_folders() -> None:
    for file in files():
        assert file.package == file.name.rpartition("/")[0].replace("/", "."), file.name
