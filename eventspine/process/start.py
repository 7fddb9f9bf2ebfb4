"""Starts a service process as its command line says; see `entry.py` for the exit codes."""

import argparse
import asyncio
import logging
import os
import socket
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from eventspine.domain.declare import declare
from eventspine.domain.errors import DeclarationError
from eventspine.process.domains import DomainNotFoundError, find_domains
from eventspine.process.entry import EXIT_UNREACHABLE, EXIT_USAGE, Service
from eventspine.process.loop import loop_factory, settle_collector
from eventspine.process.metrics import MetricsServer
from eventspine.process.read_settings import (
    PREFIX,
    SECRETS_DIR,
    Section,
    Setting,
    environment_name,
    read_settings,
    settings_of,
)
from eventspine.process.serving import Plan, serve
from eventspine.process.settings import ProcessSettings, SettingsError
from eventspine.process.stack_settings import SETTINGS_FILE
from eventspine.rpc import logs
from eventspine.rpc.host import PortTakenError
from eventspine.rpc.tls import CertificateError, Tls, read_tls
from eventspine.storage.errors import BusSetupError, StackSetupError, StoreUnavailableError
from eventspine.storage.stack import StackSettings


def start(service: Service, arguments: Sequence[str] | None) -> NoReturn:
    """Runs a service process to its end.

    Args:
        service: What to run.
        arguments: What was typed; None takes it from the process.
    """
    sections = _sections(service)
    given = _parser(service, sections).parse_args(arguments)
    try:
        plan = _plan(service, sections, given)
    except (SettingsError, DomainNotFoundError, DeclarationError, CertificateError) as error:
        _stop(service, error, EXIT_USAGE)
    if given.check:
        sys.stdout.write("settings, domains and certificates are right\n")
        sys.exit(0)
    logs.configure(
        logging.getLevelNamesMapping()[plan.settings.log_level.upper()],
        service=service.name,
        instance=plan.settings.instance,
    )
    settle_collector()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve(plan, lambda address: _serving(service, address)))
    except (PortTakenError, StackSetupError, BusSetupError, StoreUnavailableError) as error:
        _stop(service, error, EXIT_UNREACHABLE)
    sys.exit(0)


def _sections(service: Service) -> list[Section]:
    """Returns the classes of settings of a process; the tenant is said once for all of them."""
    return [
        Section(ProcessSettings),
        Section(StackSettings, without=("tenant",)),
        Section(service.settings, f"{service.name}_", without=("tenant",)),
    ]


def _plan(service: Service, sections: Sequence[Section], given: argparse.Namespace) -> Plan:
    """Reads settings, domains and certificates."""
    said = {name: value for name in ("address", "domains") if (value := getattr(given, name))}
    file = given.settings or os.environ.get(SETTINGS_FILE)
    environment = {name: text for name, text in os.environ.items() if name != SETTINGS_FILE}
    settings, stack, own = read_settings(
        sections, given=said, file=Path(file) if file else None, environment=environment
    )
    if problems := settings.problems():
        raise SettingsError("\n".join(problems))
    settings = replace(
        settings, instance=settings.instance or f"{socket.gethostname()}-{os.getpid()}"
    )
    declarations = declare(find_domains(settings.domains))
    stack = replace(stack, tenant=settings.tenant)
    return Plan(
        service=service.name,
        settings=settings,
        tls=_tls(settings),
        declarations=declarations,
        open_backend=lambda: service.open_backend(stack, declarations),
        compose=lambda site: service.compose(site, own),
        metrics=(
            (lambda figures: MetricsServer(settings.metrics_address, figures))
            if settings.metrics_address
            else None
        ),
    )


def _tls(settings: ProcessSettings) -> Tls | None:
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if certificate is None or key is None:
        return None
    return read_tls(certificate, key, settings.tls_callers_file)


def _serving(service: Service, address: str) -> None:
    """Tells whoever started the process that calls are answered."""
    sys.stdout.write(f"{service.name} serves on {address}\n")
    sys.stdout.flush()


def _stop(service: Service, error: Exception, code: int) -> NoReturn:
    for line in str(error).splitlines():
        sys.stderr.write(f"{service.name}: {line}\n")
    sys.exit(code)


def _parser(service: Service, sections: Sequence[Section]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {service.name}_svc",
        description=service.does,
        epilog=_settings_help(sections),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--address", help="where to listen, host:port; as the setting `address`")
    parser.add_argument(
        "--domain",
        dest="domains",
        action="append",
        metavar="module:ATTRIBUTE",
        help="a domain to host; repeat for more; as the setting `domains`",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help=f"a TOML or .env file with settings; also {SETTINGS_FILE}",
    )
    parser.add_argument(
        "--check", action="store_true", help="check settings, domains and certificates, and exit"
    )
    return parser


def _settings_help(sections: Sequence[Section]) -> str:
    lines = [
        "settings, by their names in the environment; a TOML file has the same names in lower case",
        f"and without {PREFIX}. Lists are separated by commas, pairs are name:number. A secret may",
        f"also stand in a file that NAME_FILE names, or in a folder that {SECRETS_DIR} names.",
        "",
    ]
    for section in sections:
        for setting in settings_of(section):
            lines += _setting_help(setting)
    return "\n".join(lines)


def _setting_help(setting: Setting) -> list[str]:
    default = setting.default
    if isinstance(default, tuple):
        shown = ",".join(default)
    elif default is None or default in ("", {}):
        shown = "nothing"
    else:
        shown = str(default).lower() if isinstance(default, bool) else str(default)
    secret = "; a secret" if setting.secret else ""
    text = textwrap.wrap(setting.help, 90, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return [f"  {environment_name(setting.name)}  (default: {shown}{secret})", *text]
