"""The command service, put together; what embedded platform and service process have alike."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from command_svc.serve import CommandService
from command_svc.settings import CommandSettings
from eventspine.process.composition import Part, Site
from eventspine.rpc.figures import Figure
from eventspine.rpc.method import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandComposition:
    """The command service and what has to run for it; a `Composition`."""

    command: CommandService
    parts: Sequence[Part]
    methods: Sequence[Method]

    def figures(self) -> Iterable[Figure]:
        """Returns what the service has counted and measured so far."""
        return self.command.figures()


def compose(site: Site, settings: CommandSettings | None = None) -> CommandComposition:
    """Puts the command service together. Nothing is started.

    Args:
        site: What it stands on.
        settings: What differs from the defaults. The tenant is the site's.
    """
    command = CommandService(
        site.declarations,
        site.backend,
        now_us=site.now_us,
        progress=site.progress,
        serving=site.serving,
        settings=replace(settings or CommandSettings(), tenant=site.tenant),
    )
    return CommandComposition(
        command=command,
        parts=(command,),
        methods=command.methods(),
    )
