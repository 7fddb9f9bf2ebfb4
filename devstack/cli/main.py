"""The `eventspine` command line: its commands, and how their failures end."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import typer

from devstack.cli import backups, conformance, contract, dev, edge, events, operate, schema, views
from devstack.cli.failure import EXIT_INTERRUPTED, CommandLineError

AGAIN_SECONDS = 0.05
"""How long after a dropped Ctrl-C it is raised again: destructors are short."""

app = typer.Typer(
    name="eventspine",
    help="Proto-first event sourcing: run a platform, look into it, and keep it safe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    dev.dev,
    events.send,
    events.append,
    events.read,
    events.tail,
    events.state,
    views.rows,
    operate.verify,
    operate.audit,
    backups.backup,
    backups.restore,
    operate.doctor,
    schema.schema,
    operate.new,
    edge.edge,
    conformance.conformance,
):
    app.command()(command)
app.add_typer(views.app, name="views")
app.add_typer(operate.imports, name="import")
app.add_typer(contract.app, name="contract")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line; ends the process with one of the exit codes of `failure`.

    Args:
        arguments: What was typed after `eventspine`; None takes it from the process.
    """
    # What the transport logs by itself is not for people; calls that fail say why.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    hook = sys.unraisablehook
    sys.unraisablehook = partial(_ignored, hook)
    try:
        app(args=arguments)
    except CommandLineError as error:
        typer.echo(f"eventspine: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _end_now(EXIT_INTERRUPTED)
    finally:
        sys.unraisablehook = hook
    sys.exit(0)


def _ignored(
    otherwise: Callable[["sys.UnraisableHookArgs"], Any], unraisable: "sys.UnraisableHookArgs"
) -> None:
    """Raises a Ctrl-C once more that came while a destructor ran, where Python drops exceptions."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    else:
        otherwise(unraisable)


def _end_now(exit_code: int) -> NoReturn:
    """Ends the process without waiting for the transport, which may have lost a call."""
    with suppress(OSError):
        sys.stdout.flush()
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
