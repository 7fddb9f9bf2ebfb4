"""The processor, put together; what embedded platform and service process have alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain

from eventspine.process.composition import Part, Site
from eventspine.rpc.figures import Figure
from eventspine.rpc.method import Method
from processor_svc.admin import AdminService
from processor_svc.auditor import Auditor
from processor_svc.project import Processor
from processor_svc.sequence import Sequencer
from processor_svc.settings import ProcessorSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorComposition:
    """The processor, the operations on it, and what has to run for it; a `Composition`.

    Attributes:
        sequencer: None where the store sequences as it appends.
    """

    sequencer: Sequencer | None
    processor: Processor
    admin: AdminService
    auditor: Auditor
    parts: Sequence[Part]
    methods: Sequence[Method]

    def figures(self) -> Iterable[Figure]:
        """Returns what the service has counted and measured so far."""
        sequenced = () if self.sequencer is None else self.sequencer.figures()
        return chain(sequenced, self.processor.figures(), self.auditor.figures())


def compose(site: Site, settings: ProcessorSettings | None = None) -> ProcessorComposition:
    """Puts the processor together. Nothing is started.

    Args:
        site: What it stands on.
        settings: What differs from the defaults.
    """
    backend = site.backend
    processor = Processor(site.declarations, backend, site.tail, now_us=site.now_us)
    admin = AdminService(
        backend,
        processor,
        site.tail,
        now_us=site.now_us,
        version=version("eventspine"),
        tenant=site.tenant,
    )
    sequencer = None
    if not backend.sequences_on_append:
        sequencer = Sequencer(backend.events, backend.log, backend.bus, tail=site.tail)
    auditor = Auditor(backend, now_us=site.now_us, settings=settings)
    sequencing = () if sequencer is None else (sequencer,)
    return ProcessorComposition(
        sequencer=sequencer,
        processor=processor,
        admin=admin,
        auditor=auditor,
        parts=(site.tail, *sequencing, processor, auditor),
        methods=[*admin.methods(), *auditor.methods()],
    )
