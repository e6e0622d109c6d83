"""`Batch`: thousands of recordings, in a pool of processes or on a cluster, with a manifest."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any, Self

from unmingle.batch import lhotse
from unmingle.batch.items import Item, list_items, with_folders
from unmingle.batch.manifest import DONE, FAILED, WAITING, Manifest, Row
from unmingle.batch.on_ray import import_ray, run_on_ray
from unmingle.batch.one import TASKS
from unmingle.batch.places import (
    READ_ONLY,
    as_place,
    below,
    files_below,
    is_address,
    protocol_of,
    write_bytes,
)
from unmingle.batch.pool import run_in_pool
from unmingle.batch.worker import WORKSHOP, Job
from unmingle.errors import InputError, UsageError
from unmingle.inference.options import FileOptions, read_options
from unmingle.results.folders import own_name

ENGINES: dict[str, Callable[[Job, Sequence[Item], int | None], Iterator[Row]]] = {
    "pool": lambda job, items, n: run_in_pool(job, items, n or 1),
    "ray": run_on_ray,
}
CUTS = "cuts.jsonl.gz"
THEIR_OWN = ("start_s", "end_s", "channel")  # of a cut


class Batch:
    """Recordings and what becomes of them; a context manager, in which no other run may write into the output
    folder. To go through it is to process them: a `Row` for each as it is done. The manifest,
    `OUT/manifest.parquet`, has all of them, and says what need not be done again.

    Attributes:
        items: the recordings that are to be done.
        n_skipped: how many the manifest has as done.
        manifest: address of the table.

    Args:
        inputs: files, folders, patterns, Lhotse manifests; paths or addresses.
        out: folder for the results, a path or an address.
        task: "separate" or "enhance".
        engine: "pool" or "ray".
        workers: how many; of a pool one, on Ray one per core of the cluster, unless given.
        retries: how often a recording is tried again over which a worker died or a network failed.
        max_failures: stop when more have failed.
        overwrite: do again what is done, replace what else lies in the folders.
        options: of `separate_file` or `enhance_file`; `model` is a name or a path.

    Raises:
        InputError: the inputs or the output cannot be reached, another run writes there, or the manifest was
            made with other options; while it runs, also if too many recordings fail.
        UsageError: a wrong argument, or a package is missing.
    """

    def __init__(
        self,
        inputs: Sequence[str | Path],
        out: str | Path,
        task: str = "separate",
        *,
        engine: str = "pool",
        workers: int | None = None,
        retries: int = 2,
        max_failures: int | None = None,
        overwrite: bool = False,
        **options: Any,
    ) -> None:
        if engine not in ENGINES:
            raise UsageError(f"engine {engine!r}: unknown; choose from {', '.join(ENGINES)}")
        if engine == "ray":
            import_ray()  # before anything is written
        self._out = as_place(str(out))
        if is_address(self._out) and protocol_of(self._out) in READ_ONLY:
            raise UsageError(f"{out}: cannot be written to; give a folder, s3:// or gs://")
        self._task, self._engine, self._workers, self._retries = task, ENGINES[engine], workers, retries
        self._max_failures, self._overwrite = max_failures, overwrite
        self._options = {name: value for name, value in options.items() if name != "overwrite"}
        if task not in TASKS:
            raise UsageError(f"task {task!r}: unknown; choose from {', '.join(TASKS)}")
        read_options(only_of_files(self._options), TASKS[task])  # what is wrong is wrong for every recording
        about = {"task": task, **unusual(self._options, task)}
        self._manifest = Manifest(self._out, about, usual_of(task), overwrite)
        self.manifest = self._manifest.place
        self._found = list_items([str(each) for each in inputs], self._out)
        given = [name for name in THEIR_OWN if self._options.get(name) not in (None, "mix")]
        if given and any(item.options for item in self._found):
            raise UsageError(f"{given[0]} is what each cut says; leave it out")
        self.items: list[Item] = []
        self.n_skipped = 0
        options = {**self._options, "overwrite": True}  # what may not be replaced, `_plan` finds out
        self._job = Job(task, self._out, self._manifest.run, retries, options)
        self._refused: list[Row] = []

    @property
    def progress(self) -> tuple[int, int]:
        """How many of the recordings are done, those of earlier runs included, and how many there are."""
        rows = [self._manifest.rows.get(item.input) for item in self._found]
        return sum(row is not None and row.status == DONE for row in rows), len(rows)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._manifest)
            stack.callback(self._clean)
            self._plan()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def __iter__(self) -> Iterator[Row]:
        n_failed = 0
        for row in self._rows():
            self._manifest.add(row)
            n_failed += row.status == FAILED
            yield row
            if self._max_failures is not None and n_failed > self._max_failures:
                remedy = "see the column error there, and run the same command to go on"
                failed = f"{n_failed} failed, more than the {self._max_failures} allowed"
                raise InputError(f"{self.manifest}: stopped, because {failed}; {remedy}")

    def _rows(self) -> Iterator[Row]:
        yield from self._refused
        if self.items:
            yield from self._engine(self._job, self.items, self._workers)

    def _clean(self) -> None:
        shutil.rmtree(self._job.workshop, ignore_errors=True)
        self._write_cuts()

    def _plan(self) -> None:
        """Find out what is to be done and what may not be, and enter it."""
        if not is_address(self._out):
            for old in Path(self._out).glob(f"{WORKSHOP}*"):  # of a run that was killed
                shutil.rmtree(old, ignore_errors=True)
        known = self._manifest.rows
        every = with_folders(self._found, {name: row.folder for name, row in known.items()})
        self._found = every
        theirs = [item for item in every if item.input not in known or not known[item.input].is_ours]
        occupied = set() if self._overwrite else self._occupied(theirs)
        for item in every:
            row = known.get(item.input)
            if row is not None and row.status == DONE and not self._overwrite:
                self.n_skipped += 1
            elif item.folder in occupied:
                remedy = "choose another output folder, or --overwrite"
                error = f"results are there already, in {below(self._out, item.folder)}; {remedy}"
                self._refused.append(Row(item.input, item.folder, FAILED, error=error))
            else:
                self.items.append(item)
                known[item.input] = Row(item.input, item.folder, WAITING)
        self._manifest.write()

    def _occupied(self, items: list[Item]) -> set[str]:
        """The folders of these items in which results are that no run of this manifest has made."""
        if not items:
            return set()
        if not is_address(self._out):
            folders = {item.folder: Path(self._out, item.folder) for item in items}
            return {
                name
                for name, path in folders.items()
                if path.is_dir() and any(own_name(file.name) for file in path.iterdir())
            }
        there = [path.removeprefix(f"{self._out}/").rpartition("/") for path in files_below(self._out)]
        return {folder for folder, _, name in there if own_name(name)} & {item.folder for item in items}

    def _write_cuts(self) -> None:
        cuts = [item for item in self._found if item.cut is not None]
        rows = self._manifest.rows
        done = [(item.cut, rows[item.input]) for item in cuts if item.input in rows]
        if cuts:
            lines = [
                line
                for cut, row in done
                if row.status == DONE and cut is not None
                for line in lhotse.as_cuts(cut, row, self._task)
            ]
            write_bytes(below(self._out, CUTS), lhotse.written(lines))


def only_of_files(options: dict[str, Any]) -> dict[str, Any]:
    """Those that are not `separate_file`'s or `enhance_file`'s own."""
    own = {name for run in TASKS.values() for name in signature(run).parameters}
    return {name: value for name, value in options.items() if name not in own}


def usual_of(task: str) -> dict[str, Any]:
    """All options, as they are unless given."""
    parameters = signature(TASKS[task]).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    return defaults | asdict(FileOptions())


def unusual(options: dict[str, Any], task: str) -> dict[str, Any]:
    """The options that are not as they are unless given: what results are made with."""
    usual = usual_of(task)
    return {name: value for name, value in options.items() if value != usual.get(name)}
