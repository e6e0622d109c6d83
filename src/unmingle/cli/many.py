"""Few files, one after the other, or many with a manifest: which of both, and the second."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from unmingle.cli.options import list_sources
from unmingle.cli.processing import one_by_one, stopping_cleanly
from unmingle.console import say
from unmingle.errors import InputError, UsageError

ENGINES = ("pool", "ray")

Engine = Annotated[
    str | None,
    typer.Option(
        help="pool (processes of this machine) or ray, with a manifest. [default: one after the other]"
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="How many recordings at once, with a manifest of the results.")
]
Retries = Annotated[
    int, typer.Option(min=0, help="How often again, where a worker died or a network failed.")
]
MaxFailures = Annotated[
    int | None, typer.Option(min=0, help="Stop when more recordings have failed. [default: never]")
]


def how_many(
    inputs: list[str],
    out: str,
    engine: str | None,
    workers: int | None,
    retries: int,
    max_failures: int | None,
) -> dict[str, Any] | None:
    """The arguments of `Batch` where a manifest is wanted: if one of the options about many recordings is
    given, or an address, or a manifest of Lhotse. None where files are processed one after the other.

    Raises:
        UsageError: there is no such engine.
    """
    from unmingle.batch.lhotse import is_manifest
    from unmingle.batch.places import is_address

    if engine is not None and engine not in ENGINES:
        raise UsageError(f"--engine {engine}: unknown; choose from {', '.join(ENGINES)}")
    asked = engine is not None or workers is not None or max_failures is not None
    if asked or is_address(out) or any(is_address(text) or is_manifest(text) for text in inputs):
        how = {"workers": workers, "retries": retries, "max_failures": max_failures}
        return {"engine": engine or "pool", **how}
    return None


def process(
    inputs: list[str],
    out: str,
    task: str,
    as_json: bool,
    many: dict[str, Any] | None,
    named: str | None,
    **options: Any,
) -> int:
    """Process all inputs, print what became of them; return the exit code.

    Args:
        many: see `how_many`.
        named: the model, by its name or path, for other processes.
        options: of `separate_file` or `enhance_file`.
    """
    if many is None:
        return one_by_one(list_sources(inputs, Path(out)), task, as_json, out=Path(out), **options)
    from unmingle.batch import Batch

    n_done = n_failed = 0
    seconds, line = 0.0, ""
    wanted = {**many, **options, "model": named}
    with (
        stopping_cleanly(),
        Batch(inputs, out, task, **wanted) as batch,
        counter(len(batch.items)) as show,
    ):
        try:
            for row in batch:
                n_done, n_failed = n_done + (row.error is None), n_failed + (row.error is not None)
                seconds += row.seconds or 0
                if row.error:
                    say(f"{row.input}: {row.error}")
                show(n_done + n_failed, n_failed, seconds)
        except InputError as error:
            line = str(error)
        except KeyboardInterrupt:
            n, n_all = batch.progress
            say(f"{n} of {n_all} are done; the same command goes on with the others")
            raise
    if line:
        say(line)
    if as_json:
        counts = {"done": n_done, "failed": n_failed, "skipped": batch.n_skipped}
        print(json.dumps({"manifest": batch.manifest, **counts}))
    else:
        before = f", {batch.n_skipped} were done before" if batch.n_skipped else ""
        say(f"{n_done} done, {n_failed} failed{before}")
        print(batch.manifest)
    return 1 if n_failed or line else 0


@contextmanager
def counter(total: int) -> Iterator[Callable[[int, int, float], None]]:
    """A bar over recordings on standard error; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda n, n_failed, seconds: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.fields[failed]}", markup=False)
    columns = (
        MofNCompleteColumn(),
        text,
        BarColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("left"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, failed="", speed="")

        def show(n: int, n_failed: int, seconds: float) -> None:
            elapsed_s = bar.tasks[task].elapsed or 1.0
            failed = f"({n_failed} failed)" if n_failed else ""
            bar.update(task, completed=n, failed=failed, speed=f"{seconds / elapsed_s:.1f} × real time")

        yield show
