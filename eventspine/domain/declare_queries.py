"""Reads and checks the query services: which view each typed query reads, and how."""

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import Descriptor, FileDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from eventspine.domain.declare_views import Views
from eventspine.domain.declared import QueryDeclaration, ViewDeclaration
from eventspine.domain.options import is_query_service, query_option
from eventspine.domain.problems import Problems
from eventspine.domain.shapes import check_field, type_words

_RESULT = ("result", "eventspine.v1.QueryResult")


def declare_queries(
    files: Iterable[FileDescriptor], views: Views, problems: Problems
) -> tuple[QueryDeclaration, ...]:
    """Returns the typed queries of the files, in the order of the files."""
    declared = []
    for method in _query_methods(files, problems):
        kind, name = _kind_of(method, problems)
        view = views.get(name)
        if kind and view is None:
            cure = "write the full name of a row message that a view of the domain has"
            problems.add(method, f"its query option names {name!r}, which is no view", cure)
        if kind:
            _check_streaming(method, kind, problems)
        if kind and view is not None:
            _check_request(method.input_type, kind, view, problems)
            _check_response(method.output_type, kind, view, problems)
            declared.append(
                QueryDeclaration(
                    method.containing_service.full_name,
                    method.name,
                    kind,
                    view,
                    GetMessageClass(method.input_type),
                    GetMessageClass(method.output_type),
                )
            )
    return tuple(declared)


def _query_methods(
    files: Iterable[FileDescriptor], problems: Problems
) -> Iterator[MethodDescriptor]:
    for file in files:
        for service in file.services_by_name.values():
            if not is_query_service(service):
                continue
            if not service.methods:
                problems.add(service, "has no method", "add a method for a query, or remove it")
            yield from service.methods


def _kind_of(method: MethodDescriptor, problems: Problems) -> tuple[str, str]:
    option = query_option(method)
    kind = None if option is None else option.WhichOneof("kind")
    if option is None or kind is None:
        cure = 'add `option (eventspine.v1.query) = {get: "<row message>"};`, or list, or watch'
        problems.add(method, "has no query option that says what it reads", cure)
        return "", ""
    return kind, getattr(option, kind)


def _check_streaming(method: MethodDescriptor, kind: str, problems: Problems) -> None:
    if method.client_streaming:
        problems.add(method, "takes a stream of requests", "take one request")
    if kind == "get" and method.server_streaming:
        problems.add(method, "is a get, but returns a stream", "return one response")
    if kind != "get" and not method.server_streaming:
        problems.add(method, f"is a {kind}, but returns no stream", "write `returns (stream ...)`")


def _check_request(
    request: Descriptor, kind: str, view: ViewDeclaration, problems: Problems
) -> None:
    fixed = {"header": "eventspine.v1.QueryHeader"}
    if kind == "list":
        fixed |= {"limit": "uint32", "cursor": "string"}
    for name, words in fixed.items():
        check_field(request, name, words, problems)
    keys = {field.name: type_words(field) for field in view.key_fields}
    given = [name for name in keys if name in request.fields_by_name]
    needed = list(keys) if kind != "list" else list(keys)[: len(given)]
    for name in needed:
        check_field(request, name, keys[name], problems)
    for field in request.fields:
        if field.name not in keys and field.name not in fixed:
            cure = f"remove it; only the key can be asked for: {', '.join(keys)}"
            problems.add(field, f"means nothing to a {kind} of {view.name}", cure)
        elif field.name in keys and field.name not in needed:
            cure = f"add the key fields before it, or remove it: {', '.join(keys)}"
            problems.add(field, "is a key field without all that stand before it", cure)


def _check_response(
    response: Descriptor, kind: str, view: ViewDeclaration, problems: Problems
) -> None:
    fields = {
        "get": [("row", view.name)],
        "list": [("rows", f"repeated {view.name}"), ("cursor", "string")],
        "watch": [("row", view.name), ("absent", "bool"), ("checkpoint", "bool")],
    }[kind]
    for name, words in [*fields, _RESULT]:
        check_field(response, name, words, problems)
