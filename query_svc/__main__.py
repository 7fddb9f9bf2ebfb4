"""`python -m query_svc`: the query service as a process of its own."""

from eventspine.process.entry import Service, main
from query_svc.compose import compose
from query_svc.settings import QuerySettings

SERVICE = Service(
    name="query",
    does="Answers queries, watches and subscriptions.",
    settings=QuerySettings,
    compose=compose,
)

if __name__ == "__main__":
    main(SERVICE)
