"""separate_file() and enhance_file(): from disk to disk, block by block."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from unmingle.facts import CLUSTERING, Speakers
from unmingle.inference.chunking import SeparatorLike
from unmingle.inference.options import FileOptions
from unmingle.inference.pipeline import (
    BLOCK_S,
    Enhancement,
    Model,
    Process,
    Progress,
    Separation,
    after_counting,
    as_enhancer,
    as_separator,
    count_speakers,
    name_of,
    report,
)
from unmingle.inference.queue import Queue
from unmingle.media.recording import StereoCall, at_microphones, pick_channel
from unmingle.results.folders import OutputFolder
from unmingle.results.tracks import Tracks

SILENT_DB = -40.0
STEREO_CALL = (
    "each channel seems to hold a voice of its own, as in a stereo call: the channels themselves are the "
    "better separation"
)


@dataclass(frozen=True)
class FileResult:
    """What became of one input.

    Attributes:
        input: its name.
        outputs: one file per voice, or that of the one voice that was enhanced.
        speakers: how many voices were heard.
        silent: the outputs in which none was.
        duration_s: of the passage separated [s].
        sample_rate: of the outputs [Hz].
        model: name of the weights.
        real_time_factor: processing time over duration.
        rest: what no output has, if asked for.
        plot: picture of the spectrograms, if asked for.
        embeddings: picture of the embeddings, if asked for and the model clusters them.
        notes: one sentence each: what was downmixed, scaled, resampled or doubtful.
    """

    input: str
    outputs: list[Path]
    speakers: int
    silent: list[Path]
    duration_s: float
    sample_rate: int
    model: str
    real_time_factor: float
    rest: Path | None
    plot: Path | None
    embeddings: Path | None
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: paths as text, `rest` and the pictures only if they were asked for."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {
            key: list(map(str, value))
            if isinstance(value, list)
            else str(value)
            if isinstance(value, Path)
            else value
            for key, value in values.items()
        }


def separate_file(
    source: str | Path | BinaryIO,
    out: str | Path = "separated",
    *,
    speakers: Speakers = 2,
    model: Model = None,
    cues: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    stem: str | None = None,
    **options: Any,
) -> FileResult:
    """Separate a file into `out/<stem>/speaker-1.wav`, `speaker-2.wav`, …: read, separated and written block
    by block.

    Args:
        source: path, or binary file object.
        out: folder for the outputs; all of them appear, or none.
        speakers, model, cues, progress: as for `separate`. To count, the file is read twice.
        stem: name of the folder; the input's own unless given.
        options: those of `unmingle.inference.options.FileOptions`, such as `format="flac"`, `rest=True`.

    Raises:
        InputError: the input cannot be read, or the outputs cannot be written.
        UsageError: no such model, format, channel, track, number of speakers or passage.
        Cancelled: by `progress`; nothing is left behind.
    """
    separator = as_separator(model, speakers)

    def choose(blocks: Iterator[np.ndarray], sample_rate: int) -> Choice:
        chosen, counted = separator, None
        if speakers == "auto" and separator.facts.n_src is None:
            counted = count_speakers(separator, blocks, sample_rate)
            chosen = after_counting(separator, counted, model)
        separation = Separation(chosen, sample_rate, cues)
        names = [f"speaker-{index + 1}" for index in range(separation.n_src)]
        return Choice(separation, chosen, names, counted)

    return _process(source, Path(out), choose, FileOptions(**options), progress, stem)


def enhance_file(
    source: str | Path | BinaryIO,
    out: str | Path = "enhanced",
    *,
    model: Model = None,
    keep: float = 0.0,
    cues: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    stem: str | None = None,
    **options: Any,
) -> FileResult:
    """Take the voice of a file out of its noise, into `out/<stem>/voice.wav`, block by block.

    Args:
        source, cues, progress, stem, options: as for `separate_file`; the rest is what was removed.
        out: folder for the outputs; all of them appear, or none.
        model, keep: as for `enhance`.

    Raises:
        InputError: the input cannot be read, or the outputs cannot be written.
        UsageError: no such model, format, channel, track or passage, or `keep` is out of range.
        Cancelled: by `progress`; nothing is left behind.
    """
    enhancer = as_enhancer(model)

    def choose(blocks: Iterator[np.ndarray], sample_rate: int) -> Choice:
        return Choice(Enhancement(enhancer, sample_rate, keep, cues), enhancer, ["voice"])

    return _process(source, Path(out), choose, FileOptions(**options), progress, stem)


@dataclass
class Choice:
    """What a file goes through.

    Attributes:
        process: takes its samples, returns those of the outputs.
        separator: the network in it.
        names: of the outputs.
        counted: how many voices were counted in it, if they were.
    """

    process: Process
    separator: SeparatorLike
    names: list[str]
    counted: int | None = None


def _process(
    source: str | Path | BinaryIO,
    out: Path,
    choose: Callable[[Iterator[np.ndarray], int], Choice],
    options: FileOptions,
    progress: Progress | None,
    stem: str | None,
) -> FileResult:
    """Open, choose, process, write, describe; `choose` may go through the recording before
    it is processed.
    """
    began = time.perf_counter()
    with ExitStack() as stack:
        reader = stack.enter_context(_open(source, options))
        rate, pick = reader.sample_rate, pick_channel(options.channel, reader.n_channels, reader.name)
        name = reader.name
        folder = out / (stem or output_stems([name])[0])
        blocks = reader.blocks(BLOCK_S * rate)
        choice = choose((at_microphones(block, 1, pick) for block in blocks), rate)
        if choice.counted is not None:  # which has read it to its end
            reader = stack.enter_context(_open(reader.file, options))
        outputs = stack.enter_context(Outputs(folder, choice, rate, options))
        stereo, n_mics, n_read = StereoCall(rate), choice.separator.facts.n_mics, 0
        for block in reader.blocks(BLOCK_S * rate):
            total = None if reader.n_samples is None else max(reader.n_samples, n_read) / rate
            report(progress, n_read / rate, total)
            if pick is None and reader.n_channels == 2:
                stereo.feed(block)
            mixture = at_microphones(block, n_mics, pick, name)
            outputs.write(mixture, choice.process.feed(mixture))
            n_read += block.shape[1]
        outputs.write(np.zeros((1, 0), np.float32), choice.process.flush())
        outputs.finish()
        report(progress, n_read / rate, n_read / rate)
    mixed = pick is None and reader.n_channels > 1 and n_mics == 1
    notes = [
        *reader.warnings,
        *([f"{plural(choice.counted, 'voice')} counted"] if choice.counted is not None else ()),
        *([f"{reader.n_channels} channels were mixed to mono"] if mixed else ()),
        *([STEREO_CALL] if choice.process.n_src > 1 and stereo.recognised() else ()),
        *outputs.notes(),
    ]
    return FileResult(
        input=name,
        outputs=outputs.files,
        speakers=outputs.n_voiced,
        silent=[outputs.files[index] for index in outputs.silent],
        duration_s=n_read / rate,
        sample_rate=outputs.tracks.sample_rate,
        model=name_of(choice.separator),
        real_time_factor=(time.perf_counter() - began) * rate / n_read,
        rest=outputs.rest,
        plot=outputs.plot,
        embeddings=outputs.embeddings,
        notes=notes,
    )


def _open(source: str | Path | BinaryIO, options: FileOptions) -> Any:
    from unmingle.media.audio import open_audio

    passage = {"start_s": options.start_s, "end_s": options.end_s}
    return open_audio(source, **passage, track=options.track, strict=options.strict)


class Outputs:
    """The folder of one recording's results, which appears whole or not at all; a context manager.

    Attributes:
        files: one per output.
        rest, plot, embeddings: further files, those that were asked for.
        tracks: see `Tracks`.
        silent: the outputs in which nothing is, once it is finished.
    """

    def __init__(self, folder: Path, choice: Choice, sample_rate: int, options: FileOptions) -> None:
        self._choice, self._sample_rate, self._options = choice, sample_rate, options
        self._folder = OutputFolder(folder, options.overwrite)
        self.files = [folder / f"{name}.{options.format}" for name in choice.names]
        self.rest = folder / f"rest.{options.format}" if options.rest else None
        self.plot = folder / "spectrogram.png" if options.plot else None
        clusters = options.plot and choice.separator.facts.head in CLUSTERING
        self.embeddings = folder / "embeddings.png" if clusters else None
        self.silent: list[int] = []
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
        self._levels += [np.vdot(row, row) for row in (*voices, reference)]

    def finish(self) -> None:
        """Complete the files and draw the pictures."""
        self._gain = self.tracks.finish()
        faintest = 10 ** (SILENT_DB / 10) * self._levels[-1]
        self.silent = [index for index, level in enumerate(self._levels[:-1]) if level <= faintest]
        if self._drawn and self.plot:
            from unmingle.results.pictures import plot_separation

            self._drawn.close()
            paths = [self._staged / file.name for file in self.files]
            plot_separation(self._drawn.path, paths, self._staged / self.plot.name)
            if self.embeddings:
                from unmingle.inference.embeddings import plot_clusters

                separator: Any = self._choice.separator
                plot_clusters(separator, self._drawn.path, paths, self._staged / self.embeddings.name)
            self._drawn.path.unlink()

    @property
    def n_voiced(self) -> int:
        """How many outputs hold a voice."""
        return len(self.files) - len(self.silent) if self._choice.counted != 0 else 0

    def notes(self) -> list[str]:
        """What became of levels, rates and silent outputs, one sentence each."""
        notes, format = [], self._options.format
        if self._gain < 1:
            lowered = f"{-20 * np.log10(self._gain):.1f} dB"
            notes.append(f"all outputs were lowered by {lowered}, because {format} would have clipped")
        if self.tracks.sample_rate != self._sample_rate:
            written = f"written at {self.tracks.sample_rate} Hz"
            notes.append(f"{format} has no {self._sample_rate} Hz: {written}")
        if self.silent:
            names = " and ".join(self._choice.names[index] for index in self.silent)
            notes.append(f"{names} silent: {plural(self.n_voiced, 'voice')} heard")
        return notes


def plural(n: int | None, noun: str) -> str:
    """Such as "no voices", "1 voice", "2 voices"."""
    return f"{n or 'no'} {noun}{'' if n == 1 else 's'}"


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
