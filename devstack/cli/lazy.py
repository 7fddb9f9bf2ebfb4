"""Imports a module when something of it is first used; promise: `--help` waits for none of them."""

import importlib.util
import sys
from types import ModuleType


def lazily(name: str) -> ModuleType:
    """Returns a module that is loaded when its first attribute is asked for.

    Source: the recipe in the documentation of `importlib`.

    Raises:
        ModuleNotFoundError: There is no such module.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module
