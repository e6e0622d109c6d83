"""Where compiled models are kept."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path | None:
    """Where compiled models are kept: the user's cache folder; None if it cannot be written."""
    folder = user_cache_path("unmingle", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return None
    return folder
