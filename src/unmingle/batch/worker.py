"""What every worker does, on whichever machine: a recording in, its results and its row out."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unmingle.batch.items import Item
from unmingle.batch.manifest import DONE, FAILED, Row, process_is_there
from unmingle.batch.one import process_files
from unmingle.batch.places import Unreachable, below, is_address, open_store, reaching
from unmingle.errors import UnmingleError
from unmingle.inference.choosing import opened
from unmingle.results.folders import OutputFolder, own_name

WORKSHOP = ".unmingle-run-"
PAUSE_S = 1.0  # before another attempt; twice as long before each further one


@dataclass(frozen=True)
class Job:
    """What all recordings of a run have in common.

    Attributes:
        task: "separate" or "enhance".
        out: the output folder, a path or an address.
        run: name of the run.
        retries: how often what may go well another time is tried again.
        options: of `separate_file` or `enhance_file`; the model by its name or path.
    """

    task: str
    out: str
    run: str
    retries: int
    options: dict[str, Any]

    @property
    def workshop(self) -> Path:
        """Where results are made: beside their place, or on this machine's disk if that is elsewhere."""
        return Path(tempfile.gettempdir() if is_address(self.out) else self.out) / f"{WORKSHOP}{self.run}"


class Worker:
    """Holds a loaded model; called with an `Item`, it returns its `Row`, whatever happens.

    Raises:
        UnmingleError: on making it: the model cannot be loaded.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._options = {**job.options, "model": opened(job.options.get("model"))}
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        remove_what_the_dead_left(job.workshop)

    def __call__(self, item: Item) -> Row:
        row = Row(item.input, item.folder, worker=self.name)
        for attempt in range(1, self._job.retries + 2):
            row.attempts = attempt
            try:
                with self._workshop() as here:
                    self._process(item, here, row)
                row.status, row.error = DONE, None
                break
            except Exception as error:
                row.status, row.error = FAILED, self._said(item, error)
                if isinstance(error, UnmingleError) and not isinstance(error, Unreachable):
                    break  # it would fail again
                if attempt <= self._job.retries:
                    time.sleep(PAUSE_S * 2 ** (attempt - 1))
        row.finished = time.time()
        return row

    @contextmanager
    def _workshop(self) -> Iterator[Path]:
        folder = self._job.workshop / self.name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _process(self, item: Item, here: Path, row: Row) -> None:
        stem = item.folder.rpartition("/")[2]
        source = fetched(item.source, here)
        options = {**self._options, **item.options, "out": here / "out"}
        outcome = next(process_files([source], self._job.task, names=[f"{stem}.wav"], **options))
        if outcome.error is not None:
            raise outcome.error
        result = outcome.result
        assert result is not None
        n_samples = length_of(result.outputs[0]) if result.outputs else 0
        final = below(self._job.out, item.folder)
        publish(here / "out" / stem, final)
        row.outputs = [below(final, path.name) for path in result.outputs]
        row.seconds, row.speakers, row.notes = result.duration_s, result.speakers, list(result.notes)
        row.segments = None if result.segments is None else [asdict(each) for each in result.segments]
        row.speed = round(1 / max(result.real_time_factor, 1e-4), 3)
        row.model, row.sample_rate, row.n_samples = result.model, result.sample_rate, n_samples

    def _said(self, item: Item, error: Exception) -> str:
        text = " ".join(str(error).split()).replace(f"{self._job.workshop / self.name}{os.sep}in{os.sep}", "")
        if not isinstance(error, UnmingleError):
            text = f"unexpected {type(error).__name__}: {text}"
        copied = item.source.rpartition("/")[2].partition("?")[0]
        if item.cut is None:  # otherwise the column input says it already
            for name in (item.source, copied):
                text = text.removeprefix(f"{name}: ")
        return text


def fetched(source: str, here: Path) -> Path:
    """The path of a recording; of one that is elsewhere, that of a copy."""
    if not is_address(source):
        return Path(source)
    store, path_there = open_store(source)
    copy = here / "in" / source.rpartition("/")[2].partition("?")[0]
    copy.parent.mkdir()
    with reaching(source):
        store.get_file(path_there, str(copy))
    return copy


def length_of(path: Path) -> int:
    """Samples per channel of a file."""
    from unmingle.media.audio import open_audio

    with open_audio(path) as reader:
        return reader.n_samples or 0


def publish(made: Path, final: str) -> None:
    """Put finished results into their place: by renaming on this machine; into a store file by file, and
    nothing is known of them until their row is written.
    """
    if not is_address(final):
        with OutputFolder(final, overwrite=True) as beside:
            for path in made.iterdir():
                path.replace(beside / path.name)
        return
    store, folder = open_store(final)
    names = {path.name for path in made.iterdir()}
    with reaching(final):
        for old in store.find(folder):
            name = old.rpartition("/")[2]
            if own_name(name) and name not in names:  # of an interrupted run, or another number of people
                store.rm_file(old)
        for name in sorted(names):
            store.put_file(str(made / name), below(folder, name))


def remove_what_the_dead_left(workshop: Path) -> None:
    """Delete folders of workers of this machine that are gone."""
    for folder in workshop.glob(f"{socket.gethostname()}-*"):
        if not process_is_there(int(folder.name.rpartition("-")[2])):
            shutil.rmtree(folder, ignore_errors=True)


def given_up(item: Item, attempts: int, why: str) -> Row:
    """The row of a recording over which workers died."""
    remedy = "it may be damaged, or take more memory than there is"
    error = f"its worker died {attempts} times ({why}); {remedy}"
    return Row(item.input, item.folder, FAILED, error=error, attempts=attempts, finished=time.time())
