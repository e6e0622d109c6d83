"""unmingle: recordings in which people talk over each other go in; each voice comes out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unmingle.runtime import Separator, load
    from unmingle.separation import separate, separate_file
    from unmingle.streaming import Stream

__version__ = "0.1.0"
__all__ = ["Separator", "Stream", "load", "separate", "separate_file"]
_HOMES = {"Separator": "runtime", "load": "runtime", "Stream": "streaming"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `unmingle --help` starts at once."""
    from importlib import import_module

    if name in __all__:
        return getattr(import_module(f"unmingle.{_HOMES.get(name, 'separation')}"), name)
    raise AttributeError(f"module 'unmingle' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
