"""Progress on standard error, so that standard output holds results only."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

Item = TypeVar("Item")


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Go through `items` with a progress bar; quiet when standard error is not a terminal."""
    console = Console(stderr=True)
    yield from rich_track(items, description, total, console=console, disable=not console.is_terminal)
