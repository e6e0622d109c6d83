"""separate_file() and enhance_file(): from disk to disk, block by block."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unmingle.errors import UsageError
from unmingle.facts import CLUSTERING, Speakers
from unmingle.inference.chunking import SeparatorLike
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
    format: str = "wav",
    channel: str | int = "mix",
    start_s: float | None = None,
    end_s: float | None = None,
    rest: bool = False,
    plot: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    stem: str | None = None,
    cues: Mapping[str, Any] | None = None,
) -> FileResult:
    """Separate a file into `out/<stem>/speaker-1.wav`, `speaker-2.wav`, …: read, separated and written block
    by block.

    Args:
        source: path, or binary file object.
        out: folder for the outputs; all of them appear, or none.
        speakers, model, progress, cues: as for `separate`. To count, the file is read twice.
        format: "wav" (32-bit float), "flac", "mp3", "m4a" or "opus".
        channel: "mix", or the number of the one channel to separate, from 1.
        start_s, end_s: passage [s].
        rest: also write `rest.wav`: the mixture minus all voices.
        plot: also draw `spectrogram.png`, and `embeddings.png` of the first chunk where embeddings are
            clustered; needs matplotlib.
        overwrite: replace outputs of an earlier run.
        stem: name of the folder; the input's own unless given.

    Raises:
        InputError: the input cannot be read, or the outputs cannot be written.
        UsageError: no such model, format, channel, number of speakers or passage.
        Cancelled: by `progress`; nothing is left behind.
    """
    separator = as_separator(model, speakers)

    def choose(blocks: Iterator[np.ndarray], sample_rate: int) -> Choice:
        chosen, counted = separator, None
        if speakers == "auto" and separator.facts.n_src is None:
            counted = count_speakers(separator, blocks, sample_rate)
            chosen = after_counting(separator, counted, model)
        separation = Separation(chosen, sample_rate, cues)
        return Choice(
            separation, chosen, [f"speaker-{index + 1}" for index in range(separation.n_src)], counted
        )

    return _process(
        source, out, choose, format, channel, start_s, end_s, rest, plot, overwrite, progress, stem
    )


def enhance_file(
    source: str | Path | BinaryIO,
    out: str | Path = "enhanced",
    *,
    model: Model = None,
    keep: float = 0.0,
    format: str = "wav",
    channel: str | int = "mix",
    start_s: float | None = None,
    end_s: float | None = None,
    rest: bool = False,
    plot: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    stem: str | None = None,
    cues: Mapping[str, Any] | None = None,
) -> FileResult:
    """Take the voice of a file out of its noise, into `out/<stem>/voice.wav`: read, enhanced and written
    block by block.

    Args:
        source, format, channel, start_s, end_s, overwrite, progress, stem, cues: as for `separate_file`.
        out: folder for the outputs; all of them appear, or none.
        model, keep: as for `enhance`.
        rest: also write `rest.wav`: what was removed.
        plot: also draw `spectrogram.png`; needs matplotlib.

    Raises:
        InputError: the input cannot be read, or the outputs cannot be written.
        UsageError: no such model, format, channel or passage, or `keep` is out of range.
        Cancelled: by `progress`; nothing is left behind.
    """
    enhancer = as_enhancer(model)

    def choose(blocks: Iterator[np.ndarray], sample_rate: int) -> Choice:
        return Choice(Enhancement(enhancer, sample_rate, keep, cues), enhancer, ["voice"])

    return _process(
        source, out, choose, format, channel, start_s, end_s, rest, plot, overwrite, progress, stem
    )


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
    out: str | Path,
    choose: Callable[[Iterator[np.ndarray], int], Choice],
    format: str,
    channel: str | int,
    start_s: float | None,
    end_s: float | None,
    rest: bool,
    plot: bool,
    overwrite: bool,
    progress: Progress | None,
    stem: str | None,
) -> FileResult:
    """The rest of `separate_file` and `enhance_file`; `choose` may listen to the recording, block by block,
    before it goes through.
    """
    from unmingle.media.audio import open_audio
    from unmingle.media.writer import FORMATS, AudioWriter

    if format not in FORMATS:
        raise UsageError(f"no format {format!r}; choose from {', '.join(FORMATS)}")
    if plot and not find_spec("matplotlib"):
        raise UsageError("a picture needs matplotlib; pip install 'unmingle[plot]'")
    began = time.perf_counter()
    with ExitStack() as stack:
        reader = stack.enter_context(open_audio(source, start_s=start_s, end_s=end_s))
        name, rate, estimated = reader.name, reader.sample_rate, reader.n_samples
        pick = pick_channel(channel, reader.n_channels, name)
        folder = Path(out) / (stem or output_stems([name])[0])
        blocks = (at_microphones(block, 1, pick) for block in reader.blocks(BLOCK_S * rate))
        choice = choose(blocks, rate)
        n_mics = choice.separator.facts.n_mics
        if choice.counted is not None:  # which has read it to its end
            reader = stack.enter_context(open_audio(reader.file, start_s=start_s, end_s=end_s))
        process, separator, n_src = choice.process, choice.separator, choice.process.n_src
        clusters: Any = separator if separator.facts.head in CLUSTERING else None
        names = [*choice.names, *["rest"] * rest]
        staged = stack.enter_context(OutputFolder(folder, overwrite))
        paths = [staged / f"{name}.{format}" for name in names]
        tracks = stack.enter_context(Tracks(paths, rate, format))
        drawn = stack.enter_context(AudioWriter(staged / "mixture.wav", sample_rate=rate)) if plot else None
        levels, stereo, waiting, n_read = np.zeros(n_src + 1), StereoCall(rate), Queue(), 0

        def write(voices: np.ndarray) -> None:
            if not voices.shape[1]:
                return
            mixture = waiting.take(voices.shape[1])
            rows = [*voices, mixture - voices.sum(axis=0)] if rest else list(voices)
            tracks.write(np.stack(rows))
            if drawn:
                drawn.write(mixture[None])
            levels[:] += [np.vdot(row, row) for row in (*voices, mixture)]

        for block in reader.blocks(BLOCK_S * rate):
            report(progress, n_read / rate, None if estimated is None else max(estimated, n_read) / rate)
            mixture = at_microphones(block, n_mics, pick, name)
            if pick is None and reader.n_channels == 2:
                stereo.feed(block)
            waiting.push(mixture[0])
            write(process.feed(mixture))
            n_read += block.shape[1]
        write(process.flush())
        gain = tracks.finish()
        report(progress, n_read / rate, n_read / rate)
        if drawn:
            from unmingle.inference.embeddings import plot_clusters
            from unmingle.results.pictures import plot_separation

            drawn.close()
            plot_separation(drawn.path, paths[:n_src], staged / "spectrogram.png")
            if clusters:
                plot_clusters(clusters, drawn.path, paths[:n_src], staged / "embeddings.png")
            drawn.path.unlink()
    silent = [index for index in range(n_src) if levels[index] <= 10 ** (SILENT_DB / 10) * levels[-1]]
    heard = n_src - len(silent) if choice.counted != 0 else 0
    notes = list(reader.warnings)
    if (counted := choice.counted) is not None:
        notes.append(f"{counted or 'no'} voice{'' if counted == 1 else 's'} counted")
    if pick is None and reader.n_channels > 1 and n_mics == 1:
        notes.append(f"{reader.n_channels} channels were mixed to mono")
    if n_src > 1 and stereo.recognised():
        notes.append(
            "each channel seems to hold a voice of its own, as in a stereo call: the channels themselves are the better separation"
        )
    if gain < 1:
        notes.append(
            f"all outputs were lowered by {-20 * np.log10(gain):.1f} dB, because {format} would have clipped"
        )
    if tracks.sample_rate != rate:
        notes.append(f"{format} has no {rate} Hz: written at {tracks.sample_rate} Hz")
    if silent:
        notes.append(
            f"{' and '.join(names[index] for index in silent)} silent: {heard or 'no'} voice{'' if heard == 1 else 's'} heard"
        )
    files = [folder / f"{name}.{format}" for name in names]
    return FileResult(
        input=name,
        outputs=files[:n_src],
        speakers=heard,
        silent=[files[index] for index in silent],
        duration_s=n_read / rate,
        sample_rate=tracks.sample_rate,
        model=name_of(separator),
        real_time_factor=(time.perf_counter() - began) * rate / n_read,
        rest=files[-1] if rest else None,
        plot=folder / "spectrogram.png" if plot else None,
        embeddings=folder / "embeddings.png" if plot and clusters else None,
        notes=notes,
    )


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
