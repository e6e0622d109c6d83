"""The results of one recording on disk: a folder that appears whole or not at all."""

import re
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from unmingle.facts import CLUSTERING
from unmingle.inference.chunking import SeparatorLike
from unmingle.inference.options import FileOptions
from unmingle.inference.pipeline import Process
from unmingle.inference.queue import Queue
from unmingle.results.folders import OutputFolder
from unmingle.results.rttm import Segment, write_segments
from unmingle.results.tracks import Tracks

SILENT_DB = -40.0


class FaceFilesLike(Protocol):
    """What is written about faces beside their voices."""

    def index(self, folder: Path) -> Path:
        """Where it is said when and where each is seen."""

    def thumbnails(self, folder: Path) -> list[Path]:
        """Where the pictures of the faces are."""

    def videos(self, folder: Path) -> list[Path]:
        """Where the copies of the video are."""

    def write(self, folder: Path, sounds: list[Path]) -> None:
        """Write all of it; `sounds` are the outputs' files."""


@dataclass
class Choice:
    """What a file goes through.

    Attributes:
        process: takes its samples, returns those of the outputs.
        separator: the network in it.
        names: of the outputs.
        wanted: they are people of whom samples were given.
        spent: share of the time that has gone into choosing.
        faces: what is written about the faces whose voices they are.
        notes: one sentence each, for the result.
    """

    process: Process
    separator: SeparatorLike
    names: list[str]
    wanted: bool = False
    spent: float = 0.0
    faces: FaceFilesLike | None = None
    notes: list[str] = field(default_factory=list)


class Outputs:
    """The folder of one recording's results, which appears whole or not at all; a context manager.

    Attributes:
        files: one per output.
        rest, plot, timeline, embeddings: further files, those that were asked for.
        faces, thumbnails, videos: those of faces.
        tracks: see `Tracks`.
        silent: the outputs in which nothing is, once it is finished.
        segments, seconds: see `FileResult`.
    """

    def __init__(self, folder: Path, choice: Choice, sample_rate: int, options: FileOptions) -> None:
        self._choice, self._sample_rate, self._options = choice, sample_rate, options
        self._folder = OutputFolder(folder, options.overwrite)
        self.files = [folder / f"{name}.{options.format}" for name in choice.names]
        self.rest = folder / f"rest.{options.format}" if options.rest else None
        self.plot = folder / "spectrogram.png" if options.plot else None
        clusters = options.plot and choice.separator.facts.head in CLUSTERING
        self.embeddings = folder / "embeddings.png" if clusters else None
        self.faces = choice.faces.index(folder) if choice.faces else None
        self.thumbnails = choice.faces.thumbnails(folder) if choice.faces else []
        self.videos = choice.faces.videos(folder) if choice.faces else []
        self.silent: list[int] = []
        find = getattr(choice.process, "segments", None)
        self.segments: list[Segment] | None = find(choice.names) if find else None
        drawn = options.plot and self.segments is not None
        self.timeline = folder / "timeline.png" if drawn else None
        self._n_written = 0
        self._levels, self._waiting, self._gain = np.zeros(len(choice.names) + 1), Queue(), 1.0

    def __enter__(self) -> Self:
        from unmingle.media.writer import AudioWriter

        with ExitStack() as stack:
            self._staged = stack.enter_context(self._folder)
            names = [*self.files, *([self.rest] if self.rest else ())]
            paths = [self._staged / file.name for file in names]
            self.tracks = stack.enter_context(Tracks(paths, self._sample_rate, self._options.format))
            mixture = self._staged / "mixture.wav"
            self._drawn = None
            if self.plot:
                self._drawn = stack.enter_context(AudioWriter(mixture, sample_rate=self._sample_rate))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, mixture: np.ndarray, voices: np.ndarray) -> None:
        """Take the next of the mixture `(C, T)`, and the outputs `(S, t)` that are ready."""
        self._waiting.push(mixture[0])
        if not voices.shape[1]:
            return
        reference = self._waiting.take(voices.shape[1])
        rows = [*voices, reference - voices.sum(axis=0)] if self.rest else list(voices)
        self.tracks.write(np.stack(rows))
        if self._drawn:
            self._drawn.write(reference[None])
        self._n_written += voices.shape[1]
        self._levels += [np.vdot(row, row) for row in (*voices, reference)]

    @property
    def seconds(self) -> dict[str, float] | None:
        """How long each output's person spoke [s], if it is known."""
        if self.segments is None:
            return None
        return {
            name: round(sum(s.end_s - s.start_s for s in self.segments if s.speaker == name), 3)
            for name in self._choice.names
        }

    def finish(self) -> None:
        """Complete the files and draw the pictures."""
        self._gain = self.tracks.finish()
        duration_s = self._n_written / self._sample_rate
        if self.segments is not None:
            # A frame may reach over the recording's end.
            self.segments = [
                replace(each, end_s=min(each.end_s, round(duration_s, 3)))
                for each in self.segments
                if each.start_s < duration_s
            ]
            write_segments(self._staged, self.segments, self.files[0].parent.name)
        if self._choice.faces:
            self._choice.faces.write(self._staged, [self._staged / file.name for file in self.files])
        faintest = 10 ** (SILENT_DB / 10) * self._levels[-1]
        self.silent = [index for index, level in enumerate(self._levels[:-1]) if level <= faintest]
        if self._drawn and self.plot:
            from unmingle.results.pictures import plot_separation, plot_timeline

            self._drawn.close()
            paths = [self._staged / file.name for file in self.files]
            plot_separation(self._drawn.path, paths, self._staged / self.plot.name)
            if self.timeline and self.segments is not None:
                plot_timeline(
                    self.segments, self._choice.names, duration_s, self._staged / self.timeline.name
                )
            if self.embeddings:
                from unmingle.inference.embeddings import plot_clusters

                separator: Any = self._choice.separator
                plot_clusters(separator, self._drawn.path, paths, self._staged / self.embeddings.name)
            self._drawn.path.unlink()

    @property
    def n_voiced(self) -> int:
        """How many outputs hold a voice."""
        if self.segments is not None:
            return len({segment.speaker for segment in self.segments})
        return len(self.files) - len(self.silent)

    def found(self) -> list[str]:
        """How many people were found, if they were told apart by their voices."""
        if self.segments is None:
            return []
        if self._choice.wanted:
            return [f"{self.n_voiced or 'none'} of {plural(len(self.files), 'target')} found"]
        return [f"{plural(self.n_voiced, 'person')} found"]

    def notes(self) -> list[str]:
        """What became of levels, rates and silent outputs, one sentence each."""
        notes, format = [], self._options.format
        if self._gain < 1:
            lowered = f"{-20 * np.log10(self._gain):.1f} dB"
            notes.append(f"all outputs were lowered by {lowered}, because {format} would have clipped")
        if self.tracks.sample_rate != self._sample_rate:
            written = f"written at {self.tracks.sample_rate} Hz"
            notes.append(f"{format} has no {self._sample_rate} Hz: {written}")
        absent = [name for name, seconds in (self.seconds or {}).items() if not seconds]
        if self._choice.wanted and absent:
            notes.append(f"{' and '.join(absent)}: absent, nobody here sounds like the sample")
        elif self.silent:
            names = " and ".join(self._choice.names[index] for index in self.silent)
            notes.append(f"{names} silent: {plural(self.n_voiced, 'voice')} heard")
        return notes


def plural(n: int | None, noun: str) -> str:
    """Such as "no voices", "1 voice", "2 people"."""
    several = "people" if noun == "person" else f"{noun}s"
    return f"{n or 'no'} {noun if n == 1 else several}"


def output_stems(names: list[str]) -> list[str]:
    """A folder name for each input: its file name without suffix, numbered where several, whatever their
    case, have the same.
    """
    stems: list[str] = []
    taken: set[str] = set()
    for name in names:
        stem = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", Path(name).stem).strip(" .") or "recording"
        candidate, count = stem, 1
        while candidate.casefold() in taken:
            count += 1
            candidate = f"{stem}-{count}"
        taken.add(candidate.casefold())
        stems.append(candidate)
    return stems
