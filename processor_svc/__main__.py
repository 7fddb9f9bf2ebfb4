"""`python -m processor_svc`: sequencer, projections and operations as a process of their own."""

from eventspine.process.entry import Service, main
from processor_svc.compose import compose
from processor_svc.settings import ProcessorSettings

SERVICE = Service(
    name="processor",
    does="Puts stored records into the log, folds it into views, and answers AdminService.",
    settings=ProcessorSettings,
    compose=compose,
)

if __name__ == "__main__":
    main(SERVICE)
