"""The query service, put together; what embedded platform and service process have alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eventspine.process.composition import Part, Site
from eventspine.rpc.figures import Figure
from eventspine.rpc.method import Method
from query_svc.serve import QueryService
from query_svc.settings import QuerySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryComposition:
    """The query service and what has to run for it; a `Composition`."""

    query: QueryService
    parts: Sequence[Part]
    methods: Sequence[Method]

    def figures(self) -> Iterable[Figure]:
        """Returns what the service has counted and measured so far."""
        return self.query.figures()


def compose(site: Site, settings: QuerySettings | None = None) -> QueryComposition:
    """Puts the query service together. Nothing is started.

    Args:
        site: What it stands on.
        settings: What differs from the defaults.
    """
    query = QueryService(
        site.declarations,
        site.backend,
        site.tail,
        site.progress,
        site.serving,
        now_us=site.now_us,
        settings=settings or QuerySettings(),
    )
    return QueryComposition(
        query=query,
        parts=(site.tail, site.progress, site.serving, query),
        methods=query.methods(),
    )
