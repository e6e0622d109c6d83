"""Separating and enhancing for visitors: so many at once, the others in a queue; each tells how far it is,
and can be cancelled.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from unmingle.catalog import fitting
from unmingle.errors import Cancelled, UnmingleError, UsageError
from unmingle.facts import Speakers
from unmingle.inference.choosing import number_of_people
from unmingle.inference.files import FileResult, enhance_file, separate_file
from unmingle.inference.outputs import output_stems
from unmingle.inference.pipeline import Progress
from unmingle.media.writer import FORMATS
from unmingle.results.rttm import LABELS, RTTM
from unmingle.web.faces import look
from unmingle.web.noises import Noise, write_mixture
from unmingle.web.people import Person, arrange, read_people
from unmingle.web.uploads import Limits, Refused, Upload, Uploads
from unmingle.web.waveforms import peaks

TASKS = ("separate", "enhance", "faces")
MIXTURE = "input-with-noise.wav"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What a visitor asks for.

    Attributes:
        target: only the person of the sample is wanted.
        model: a name in the catalogue, of one for this kind; "" leaves the choice to unmingle.

    Raises:
        UsageError: one of them is unknown.
    """

    kind: str = "separate"
    speakers: Speakers = "auto"
    format: str = "flac"
    noise: Noise | None = None
    target: bool = False
    model: str = ""

    def __post_init__(self) -> None:
        if self.kind not in TASKS:
            raise UsageError(f"no task {self.kind!r:.40}; choose from {', '.join(TASKS)}")
        number_of_people(self.speakers)
        if self.format not in FORMATS:
            raise UsageError(f"no format {self.format!r:.40}; choose from {', '.join(FORMATS)}")
        if not isinstance(self.target, bool) or (self.target and self.kind != "separate"):
            raise UsageError("a person is picked out by separating only; load the page again")
        if self.model != "" and self.model not in models_for(self.kind):  # never a path
            raise UsageError(f"no model {self.model!r:.40} for this; load the page again")

    @classmethod
    def read(cls, values: Any) -> "Task":
        """From parsed JSON; UsageError says what is wrong with it."""
        try:
            noise = values.pop("noise", None)
            return cls(**values, noise=noise and Noise(**noise))
        except (TypeError, AttributeError) as error:
            raise UsageError(f"not a task ({error}); load the page again") from None


def models_for(kind: str) -> list[str]:
    """Names of the models that a visitor may choose from."""
    return sorted(card.name for card in fitting() if card.facts.task == kind)


def model_options() -> str:
    """The same for the page: HTML."""
    return "".join(
        f'<option data-task="{kind}">{escape(name)}</option>' for kind in TASKS for name in models_for(kind)
    )


def run(task: Task, recording: Upload, source: Path, out: Path, progress: Progress) -> FileResult:
    """Call the function that the command line calls for this task."""
    options: dict[str, Any] = {
        "format": task.format,
        "plot": True,
        "progress": progress,
        "stem": recording.stem,
        "model": task.model or None,
    }
    if task.kind == "enhance":
        return enhance_file(source, out, rest=True, **options)
    if task.kind == "faces":
        assert recording.seen is not None
        return separate_file(source, out, faces=recording.seen.faces, rest=True, **options)
    if task.target:
        if not recording.sample_name:
            raise UsageError("the sample of the voice is not here; choose it again")
        options["targets"] = {output_stems([recording.sample_name])[0]: recording.sample}
    return separate_file(source, out, speakers=task.speakers, **options)


class Job:
    """One task on one recording.

    Attributes:
        state: "waiting", "running", "done", "failed" or "cancelled".
        stage: what is being done.
        error: why it failed.
        result: what `separate_file` returned.
        files: name → path of what may be played and downloaded.
        peaks: name → waveform of what is played, that of the input under "input".
        people: who they are, where they were told apart.
    """

    def __init__(self, task: Task, recording: Upload, recordings: Uploads) -> None:
        self.task, self._recording, self._recordings = task, recording, recordings
        self.state, self.stage, self.error = "waiting", "starting", ""
        self.result: FileResult | None = None
        self.files: dict[str, Path] = {}
        self.peaks: dict[str, list[float]] = {}
        self.people: list[Person] = []
        self._found: tuple[FileResult, dict[str, Path], dict[str, list[float]]] | None = None
        self._arranging, self._n_arranged = threading.Lock(), 0
        self._began = self._done_s = 0.0
        self._total_s: float | None = None
        self._wish = threading.Event()
        self._future: Future[None]

    def start(self, executor: ThreadPoolExecutor) -> None:
        self._future = executor.submit(self._run)

    @property
    def is_over(self) -> bool:
        return self._future.done()

    def cancel(self) -> None:
        """Stop it: at once if it waits, else within a block of audio. What is done stays done."""
        self._wish.set()
        if self._future.cancel():
            self.state = "cancelled"

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call back when it is over, or now if it is."""
        self._future.add_done_callback(lambda _: callback())

    def to_dict(self) -> dict[str, Any]:
        """How far it is, or what came of it."""
        running_s = time.monotonic() - self._began if self._began else 0.0
        values = {
            "state": self.state,
            "stage": self.stage,
            "done_s": self._done_s,
            "total_s": self._total_s,
            "running_s": running_s,
        }
        if self.state == "failed":
            values["error"] = self.error
        if self.result is not None:
            voices = [path.name for path in self.result.outputs]
            values |= {
                "files": [name for name in self.files if name in (*self.peaks, MIXTURE)],
                "voices": voices,
                "silent": [path.name for path in self.result.silent],
                "picture": self.result.plot and self.result.plot.name,
                "segments": [asdict(segment) for segment in self.result.segments or ()],
                "people": [asdict(person) for person in self.people],
                "notes": self.result.notes,
                "model": self.result.model,
                "duration_s": self.result.duration_s,
                "peaks": self.peaks,
            }
        return values

    def arrange(self, values: Any) -> None:
        """Give the people names, or make one of several, as a visitor says: see `read_people`.

        Raises:
            UsageError: nobody was told apart here, or it cannot be done.
        """
        with self._arranging:
            if self._found is None or not self.people:
                raise UsageError("there is nobody here who could be named; separate the recording first")
            result, files, drawn = self._found
            people = read_people(values, [path.stem for path in result.outputs])
            folder = self._recording.folder / "results" / f"people-{self._n_arranged + 1}"
            try:
                arranged = arrange(result, people, folder, self._recording.stem)
                waves = {
                    path.name: drawn[f"{person.tracks[0]}{path.suffix}"]
                    if len(person.tracks) == 1
                    else peaks(path, result.duration_s, lambda *_: None)
                    for person, path in zip(people, arranged.outputs, strict=True)
                }
            except BaseException as error:
                shutil.rmtree(folder, ignore_errors=True)
                if isinstance(error, UnmingleError):
                    raise type(error)(self._recording.in_words(error)) from None
                raise
            own = {path.name for path in result.outputs} | {RTTM, LABELS}
            told = (*arranged.outputs, folder / RTTM, folder / LABELS)
            kept = {name: path for name, path in files.items() if name not in own}
            self.peaks = waves | {name: wave for name, wave in drawn.items() if name not in own}
            self.result, self.people = arranged, people
            self.files = {path.name: path for path in told} | kept
            shutil.rmtree(folder.with_name(f"people-{self._n_arranged}"), ignore_errors=True)
            self._n_arranged += 1

    def _report(self, done_s: float, total_s: float | None) -> bool:
        self._recordings.check_duration(self._recording.name, done_s)
        self._done_s, self._total_s = done_s, total_s
        return not self._wish.is_set()

    def _drawing(self, done_s: float, total_s: float) -> None:
        if not self._report(done_s, total_s):
            raise Cancelled("cancelled while the waveforms were drawn")

    def _run(self) -> None:
        self.state, self._began = "running", time.monotonic()
        out = self._recording.folder / "results"
        try:
            shutil.rmtree(out, ignore_errors=True)
            files, source = {}, self._recording.source
            if self.task.noise:
                self.stage = "adding the noise"
                source = out / MIXTURE
                out.mkdir()
                write_mixture(self._recording.source, source, self.task.noise, self._report)
                files[MIXTURE] = source
            if self.task.kind == "faces" and self._recording.seen is None:
                self.stage = "finding the faces"
                self._recording.seen = look(self._recording.source, self._report)
            self.stage = "enhancing" if self.task.kind == "enhance" else "separating"
            result = run(self.task, self._recording, source, out, self._report)
            if self._wish.is_set():
                raise Cancelled("cancelled when all was done")
            told = (
                []
                if result.segments is None
                else [result.outputs[0].parent / name for name in (RTTM, LABELS)]
            )
            if result.faces:
                told += [*(result.thumbnails or ()), result.faces]
            files |= {path.name: path for path in (*result.outputs, result.rest, result.plot, *told) if path}
            self.stage = "drawing the waveforms"
            sounds = {"input": source} | {path.name: path for path in (*result.outputs, result.rest) if path}
            self.peaks = {
                name: peaks(path, result.duration_s, self._drawing) for name, path in sounds.items()
            }
            self._found = result, files, self.peaks
            if result.segments is not None:
                self.people = [Person(path.stem, (path.stem,)) for path in result.outputs]
            self.result, self.files, self.state = result, files, "done"
        except Cancelled:
            self.state = "cancelled"
        except UnmingleError as error:
            self.error, self.state = self._recording.in_words(error), "failed"
        except Exception:
            log.exception("a job failed")
            self.error, self.state = (
                f"{self._recording.name}: an error that we did not foresee; the server's log says more",
                "failed",
            )
        finally:
            if self.state != "done":
                shutil.rmtree(out, ignore_errors=True)


class Jobs:
    """The queue of all jobs.

    Args:
        limits: how many run at once, and how many may wait.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lock = limits, threading.Lock()
        self._executor = ThreadPoolExecutor(limits.n_jobs, thread_name_prefix="unmingle-job")
        self._open: list[Job] = []

    def add(self, job: Job) -> None:
        """Start it, or let it wait; Refused if too many wait already."""
        with self._lock:
            self._open = [other for other in self._open if not other.is_over]
            if len(self._open) >= self._limits.n_jobs + self._limits.n_waiting:
                raise Refused(
                    f"the server is busy: {self._limits.n_waiting} recordings wait already; try again in a "
                    "few minutes"
                )
            job.start(self._executor)
            self._open.append(job)

    def place(self, job: Job) -> int:
        """How many are before it, those that run included."""
        with self._lock:
            before = self._open[: self._open.index(job)] if job in self._open else []
            return sum(not other.is_over for other in before)

    def close(self) -> None:
        """Stop all, and wait until they have stopped."""
        with self._lock:
            for job in self._open:
                job.cancel()
        self._executor.shutdown(cancel_futures=True)
