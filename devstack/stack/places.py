"""Where the launcher keeps things: one cache folder of the user's for all work trees."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns `eventspine` in the user's cache folder; it need not exist.

    `XDG_CACHE_HOME` chooses the user's cache folder; a relative one is ignored, as its
    specification asks.
    """
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (chosen if chosen.is_absolute() else Path.home() / ".cache") / "eventspine"
