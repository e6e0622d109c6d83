"""unmingle: recordings in which people talk over each other go in; each voice comes out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unmingle.inference.arrays import enhance, separate
    from unmingle.inference.files import enhance_file, separate_file
    from unmingle.inference.streaming import Stream
    from unmingle.runtime.loading import load
    from unmingle.runtime.separator import Separator

__version__ = "0.1.0"
__all__ = ["Separator", "Stream", "enhance", "enhance_file", "load", "separate", "separate_file"]
_HOMES = {
    "Separator": "runtime.separator",
    "load": "runtime.loading",
    "Stream": "inference.streaming",
    "enhance": "inference.arrays",
    "separate": "inference.arrays",
    "enhance_file": "inference.files",
    "separate_file": "inference.files",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `unmingle --help` starts at once."""
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(f"unmingle.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'unmingle' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
