"""Reads and checks what domains declare, once, at start-up; promise: a wrong one never runs.

All problems are collected, so that an author mends them in one go.
"""

from collections.abc import Sequence

from google.protobuf.descriptor import FileDescriptor

from eventspine.domain.declare_aggregates import declare_aggregates, declare_events
from eventspine.domain.declare_commands import declare_commands
from eventspine.domain.declare_queries import declare_queries
from eventspine.domain.declare_views import declare_views
from eventspine.domain.declared import Declarations
from eventspine.domain.domain import Domain
from eventspine.domain.options import commands_option, is_query_service
from eventspine.domain.problems import Problems


def declare(domains: Sequence[Domain]) -> Declarations:
    """Returns all that the domains declare.

    Raises:
        DeclarationError: Something is declared wrongly. The text has one line for each problem,
            with file, element and cure.
    """
    problems = Problems()
    files = _files(domains, problems)
    _check_services(files, problems)
    events = declare_events(files, problems)
    aggregates = declare_aggregates(domains, files, events, problems)
    commands = declare_commands(files, aggregates, problems)
    views = declare_views(domains, files, events, problems)
    queries = declare_queries(files, views, problems)
    problems.raise_any()
    return Declarations(commands, queries, events, views, aggregates)


def _files(domains: Sequence[Domain], problems: Problems) -> list[FileDescriptor]:
    files: dict[str, FileDescriptor] = {}
    names: set[str] = set()
    for domain in domains:
        place = f"domain {domain.name!r}"
        if domain.name in names:
            problems.add_at(place, "name", "two domains have it", "host it once, or rename one")
        names.add(domain.name)
        for module in domain.protos:
            file = getattr(module, "DESCRIPTOR", None)
            if not isinstance(file, FileDescriptor):
                cure = "list modules whose names end in _pb2"
                problems.add_at(place, module.__name__, "is not made from a proto file", cure)
            elif file.name in files:
                problems.add_at(file.name, place, "is listed twice in protos", "list it once")
            else:
                files[file.name] = file
    return list(files.values())


def _check_services(files: Sequence[FileDescriptor], problems: Problems) -> None:
    for file in files:
        for service in file.services_by_name.values():
            marks = (commands_option(service) is not None) + is_query_service(service)
            if marks == 0:
                cure = (
                    'add `option (eventspine.v1.commands) = {category: "..."};` or '
                    "`option (eventspine.v1.queries) = {};`"
                )
                problems.add(service, "has neither option, so nothing would host it", cure)
            elif marks > 1:
                problems.add(service, "has both options", "keep either commands or queries")
