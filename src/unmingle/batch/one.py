"""Recordings one after the other: what fails is noted, and the others are still done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from unmingle.inference.files import FileResult, enhance_file, separate_file
from unmingle.inference.outputs import output_stems

TASKS: dict[str, Callable[..., FileResult]] = {"separate": separate_file, "enhance": enhance_file}

Source = str | Path | BinaryIO


@dataclass(frozen=True)
class Outcome:
    """What became of one recording: a result, or the error that kept it from one.

    Attributes:
        name: of the recording.
        result: None if it failed.
        error: None if it did not.
    """

    name: str
    result: FileResult | None = None
    error: Exception | None = None


def name_of(source: Source) -> str:
    """What a recording is called: its path, or the name of the file object."""
    return str(source if isinstance(source, str | Path) else getattr(source, "name", "recording"))


def process_files(
    sources: Sequence[Source],
    task: str = "separate",
    *,
    names: Sequence[str] | None = None,
    progress: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext(),
    **options: Any,
) -> Iterator[Outcome]:
    """Separate or enhance recordings, and tell of each when it is done.

    Args:
        sources: paths or binary file objects.
        task: "separate" or "enhance".
        names: what the recordings are called, and their folders of results; their file names unless given.
        progress: makes the context in which a recording of that name is processed; what it gives is called
            with the seconds done and in all.
        options: of `separate_file` or `enhance_file`.

    Yields:
        An `Outcome` per source, in their order.
    """
    run = TASKS[task]
    called = list(names or map(name_of, sources))
    for source, name, stem in zip(sources, called, output_stems(called), strict=True):
        try:
            with progress(name) as report:
                outcome = Outcome(name, run(source, progress=report, stem=stem, **options))
        except Exception as error:
            outcome = Outcome(name, error=error)
        yield outcome
