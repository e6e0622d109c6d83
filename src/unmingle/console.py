"""Progress on standard error, so that standard output holds results only."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def say(line: str) -> None:
    """One line on standard error."""
    print(f"unmingle: {line}", file=sys.stderr)


def stage(line: str) -> None:
    """One line about what begins; quiet when standard error is not a terminal, as `track` is."""
    if sys.stderr.isatty():
        say(line)


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Go through `items` with a progress bar; quiet when standard error is not a terminal."""
    from rich.console import Console
    from rich.progress import track as rich_track

    console = Console(stderr=True)
    yield from rich_track(items, description, total, console=console) if console.is_terminal else items
