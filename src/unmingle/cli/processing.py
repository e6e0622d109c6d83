"""Many files on the command line: progress, interruptions, and a line for each that fails."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from unmingle.console import say
from unmingle.errors import UnmingleError, UsageError


def one_by_one(sources: list[tuple[str, Path | BinaryIO]], task: str, as_json: bool, **options: Any) -> int:
    """Process files, print what became of each, and go on after one that fails; return the exit code."""
    from unmingle.batch import process_files

    entries: list[dict[str, Any]] = []
    code = 0
    names = ["stdin" if name == "<stdin>" else name for name, _ in sources]
    shown = dict(zip(names, (name for name, _ in sources), strict=True))
    files = [source for _, source in sources]
    with stopping_cleanly():
        for outcome in process_files(files, task, names=names, progress=progress_bar, **options):
            name, result = shown[outcome.name], outcome.result
            if result is None:
                assert outcome.error is not None
                line, its_code = explain(outcome.error)
                line = line if name in line else f"{name}: {line}"
                code = its_code if len(sources) == 1 else 1
                say(line)
                entries.append({"input": name, "error": line})
                continue
            entries.append(result.to_dict())
            for note in result.notes:
                say(f"{name}: {note}")
            if not as_json:
                pictures = result.plot, result.timeline, result.embeddings, *(result.thumbnails or ())
                further = *(result.videos or ()), result.rest, *pictures
                print(*result.outputs, *filter(None, further), sep="\n")
    if as_json:
        print(json.dumps({"inputs": entries}, indent=1))
    return code


def explain(error: Exception) -> tuple[str, int]:
    """One line for a person, and the exit code. An error that nobody foresaw is raised again if
    UNMINGLE_DEBUG is set.
    """
    if isinstance(error, UnmingleError):
        return " ".join(str(error).split()), 2 if isinstance(error, UsageError) else 1
    # The parser's own errors, whose class differs between Typer's versions.
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "unmingle"
        return f"{' '.join(error.format_message().split()).rstrip('.')}; see {path} --help", 2
    if os.environ.get("UNMINGLE_DEBUG"):
        raise error
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("unmingle"):
        return f"this needs {error.name}, which is not installed: pip install 'unmingle[train]'", 2
    return (
        f"unexpected {type(error).__name__}: {' '.join(str(error).split())}; set UNMINGLE_DEBUG=1 to see "
        "where, and please report it",
        1,
    )


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[float, float | None], None] | None]:
    """A bar with speed and time left on standard error; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description} {task.fields[speed]}", markup=False)
    columns = (text, BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("left"))
    began = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, speed="")

        def show(done_s: float, total_s: float | None) -> None:
            speed = f"({done_s / (time.perf_counter() - began):.1f} × real time)" if done_s else ""
            bar.update(task, completed=done_s, total=total_s, speed=speed)

        yield show


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Ctrl-C and SIGTERM interrupt once; impatient further ones do not disturb the cleaning up."""

    def interrupt(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
