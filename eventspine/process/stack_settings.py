"""The stack's settings for programs that are no service: read as the services read theirs."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from eventspine.process.read_settings import PREFIX, Section, read_settings
from eventspine.process.settings import ProcessSettings
from eventspine.storage.stack import StackSettings

SETTINGS_FILE: Final = f"{PREFIX}SETTINGS"
"""What names a file with settings in the environment."""


def read_stack_settings(environment: Mapping[str, str] = os.environ) -> StackSettings:
    """Reads how to reach the stack, and whose events are meant.

    Args:
        environment: Where settings stand, as a service process gets them.

    Raises:
        SettingsError: Some are wrong or unknown.
    """
    file = environment.get(SETTINGS_FILE)
    said = {name: text for name, text in environment.items() if name != SETTINGS_FILE}
    sections = [Section(ProcessSettings), Section(StackSettings, without=("tenant",))]
    process, stack = read_settings(
        sections, given={}, file=Path(file) if file else None, environment=said
    )
    settings: StackSettings = replace(stack, tenant=process.tenant)
    return settings
