"""`python -m processor_svc`: sequencer, projections and operations as a process of their own."""

from eventspine.process.entry import Service, main
from processor_svc.compose import compose

SERVICE = Service(
    name="processor",
    does="Puts stored records into the log, folds it into views, and answers AdminService.",
    settings=None,
    compose=lambda site, _: compose(site),
)

if __name__ == "__main__":
    main(SERVICE)
