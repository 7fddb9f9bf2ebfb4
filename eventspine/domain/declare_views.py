"""Reads and checks the views: the keys of their rows, and the versions of their code."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor

from eventspine.domain.declare_aggregates import Events, is_message
from eventspine.domain.declared import ViewDeclaration
from eventspine.domain.domain import Domain
from eventspine.domain.options import key_fields, view_option
from eventspine.domain.problems import Problems
from eventspine.domain.shapes import KEY_TYPES, messages_of, type_words
from eventspine.domain.view import Folding, View

Views = Mapping[str, ViewDeclaration]

_KEY_FIELDS_MAX = 4
_RESERVED = frozenset({"header", "limit", "cursor"})


def declare_views(
    domains: Iterable[Domain],
    files: Iterable[FileDescriptor],
    events: Events,
    problems: Problems,
) -> dict[str, ViewDeclaration]:
    """Returns the views of the domains, by name."""
    versions: dict[str, dict[int, View[Any]]] = {}
    for domain in domains:
        for view in domain.views:
            _check_view(f"domain {domain.name!r}", view, events, problems)
            if is_message(view.row):
                _add_version(view, versions.setdefault(view.name, {}), problems)
    _check_listed(files, versions, problems)
    declared: dict[str, ViewDeclaration] = {}
    for name, by_version in versions.items():
        row = next(iter(by_version.values())).row
        if _check_key(row.DESCRIPTOR, problems):
            option = view_option(row.DESCRIPTOR)
            count = 0 if option is None else len(option.partition_by)
            fields = key_fields(row.DESCRIPTOR)
            declared[name] = ViewDeclaration(name, row, fields, count, by_version)
    return declared


def _check_view(place: str, view: View[Any], events: Events, problems: Problems) -> None:
    if not is_message(view.row):
        cure = "name the class of the row message"
        problems.add_at(place, f"view of {view.row!r}", "its row is not a message class", cure)
        return
    row = view.row.DESCRIPTOR
    if type(view.version) is not int or view.version < 1:
        problems.add(row, f"a view has the version {view.version!r}", "count from 1")
    if view.merge is not None and not callable(view.merge):
        problems.add(row, "its view has a merge that cannot be called", "name a function, or None")
    if not view.foldings:
        problems.add(row, "its view folds no event", "add a folding for an event")
    classes = {event.message for event in events.values()}
    for message, folding in view.foldings.items():
        if message not in classes:
            name = message.DESCRIPTOR.full_name if is_message(message) else repr(message)
            words = f"its view folds {name}, which is no event of a hosted proto file"
            cure = "give it the event option, and list its module in the domain's protos"
            problems.add(row, words, cure)
        if not isinstance(folding, Folding) or not all(map(callable, folding)):
            words = "its view has a folding that is not Folding(keys, apply)"
            problems.add(row, words, "name two functions")


def _add_version(view: View[Any], versions: dict[int, View[Any]], problems: Problems) -> None:
    if view.version in versions:
        words = f"two views have the version {view.version}"
        problems.add(view.row.DESCRIPTOR, words, "raise the version of the newer one")
    versions.setdefault(view.version, view)


def _check_listed(
    files: Iterable[FileDescriptor], versions: Iterable[str], problems: Problems
) -> None:
    listed = set(versions)
    for file in files:
        for message in messages_of(file):
            if view_option(message) is not None and message.full_name not in listed:
                cure = f"add `View(row={message.name}, ...)` to the domain's views"
                problems.add(message, "has the view option, but no domain lists a view of it", cure)


def _check_key(row: Descriptor, problems: Problems) -> bool:
    option = view_option(row)
    if option is None:
        cure = 'add `option (eventspine.v1.view) = {partition_by: ["..."]};`'
        problems.add(row, "is the row of a view, but has no view option", cure)
        return False
    partition, order = option.partition_by, option.order_by
    if not partition or max(len(partition), len(order)) > _KEY_FIELDS_MAX:
        cure = (
            f"name 1 to {_KEY_FIELDS_MAX} in partition_by and up to {_KEY_FIELDS_MAX} in order_by"
        )
        problems.add(row, "its key has too few or too many fields", cure)
    names = [*partition, *order]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.add(row, f"its key names {name} twice", "name it once")
    fields = [row.fields_by_name.get(name) for name in names]
    for name, field in zip(names, fields, strict=True):
        if field is None:
            cure = "name a field that it has, or add it"
            problems.add(row, f"its key names {name}, which is no field of it", cure)
        else:
            _check_key_field(field, problems)
    return None not in fields


def _check_key_field(field: FieldDescriptor, problems: Problems) -> None:
    if field.is_repeated or field.type not in KEY_TYPES:
        cure = "make it a string, bytes, bool, enum or integer field, or choose another key"
        problems.add(field, f"is a key field, but is {type_words(field)}", cure)
    if field.containing_oneof is not None:
        cure = "make it a plain field, which is always set"
        problems.add(field, "is a key field, but is optional or in a oneof", cure)
    if field.name in _RESERVED:
        cure = "rename it: requests have a field of this name for another purpose"
        problems.add(field, "is a key field", cure)
