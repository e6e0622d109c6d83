"""separate(): the one path from samples to samples, for any length and sample rate; separate_file(): the same from disk to disk."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soxr

from unmingle.errors import Cancelled, InputError, UsageError
from unmingle.facts import SAMPLE_RATES
from unmingle.heads import CLUSTERING
from unmingle.output import OutputFolder, Tracks
from unmingle.recording import StereoCall, as_mono, as_whole, one_channel, pick_channel
from unmingle.runtime import Separator, Speakers, fits, load
from unmingle.stitching import Queue, SeparatorLike, Stitcher, level_gain

BLOCK_S = 5
SILENT_DB = -40.0

Progress = Callable[[float, float | None], bool | None]  # done [s], total [s] or None if unknown; False cancels
Model = str | Path | SeparatorLike | None


class Separation:
    """Separates a recording as it comes, at its own sample rate, in constant memory.

    What the calls return is, joined, exactly as long as what was fed, and aligned to the sample. What the separator's sample rate cannot
    hold, the highs of a 44.1 kHz recording, is shared between the voices as they share the highest band that it does hold.

    Args:
        separator: anything that declares `facts` and turns `(1, T)` into `(n_src, T)`.
        sample_rate: of what will be fed [Hz].

    Raises:
        InputError: sample rate out of range.
        UsageError: the separator does not say how many voices it returns.
    """

    def __init__(self, separator: SeparatorLike, sample_rate: int) -> None:
        if not SAMPLE_RATES[0] <= sample_rate <= SAMPLE_RATES[1]:
            raise InputError(f"sample rate {sample_rate} Hz is out of range; resample to {SAMPLE_RATES[0]} to {SAMPLE_RATES[1]} Hz")
        inside = separator.facts.sample_rate
        same = inside == sample_rate
        self._stitcher = Stitcher(separator, None if same else min(inside, sample_rate) / 2)
        self.n_src, self.sample_rate, self._ratio = self._stitcher.n_src, sample_rate, inside / sample_rate
        self._in = None if same else soxr.ResampleStream(sample_rate, inside, 1, dtype="float32")
        self._out = None if same else soxr.ResampleStream(inside, sample_rate, self.n_src + 1, dtype="float32")
        self._mixture, self._shares = Queue(), Queue()
        self._n_done, self._n_shares_gone = 0, 0

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Take `(T,)` float32; return the voices `(n_src, t)` that are ready, often none."""
        samples = np.array(samples, np.float32)  # a copy: the caller may use its buffer again
        if self._in is None:
            return self._stitcher.feed(samples)[: self.n_src]
        self._mixture.push(samples)
        return self._full_band(self._stitcher.feed(self._in.resample_chunk(samples)))

    def flush(self) -> np.ndarray:
        """Return the voices `(n_src, t)` that are left. Nothing can be fed afterwards."""
        if self._in is None:
            return self._stitcher.flush()[: self.n_src]
        end = np.zeros(int(1 / self._ratio) + 1, np.float32)  # so that even one sample is one inside
        rows = self._stitcher.feed(self._in.resample_chunk(end, last=True))
        return self._full_band(np.concatenate([rows, self._stitcher.flush()], axis=1), last=True)

    def _full_band(self, rows: np.ndarray, last: bool = False) -> np.ndarray:
        """From estimates, shares and the mixture at the separator's rate `(2 n_src + 1, t)` to the voices at the input's."""
        assert self._out is not None
        estimates, shares, mixture = np.split(rows, (self.n_src, 2 * self.n_src))
        self._shares.push(shares)
        low = self._out.resample_chunk(np.concatenate([estimates, mixture]).T.copy(), last).T
        n = min(low.shape[1], len(self._mixture))
        if not n:
            return np.zeros((self.n_src, 0), np.float32)
        at = (self._n_done + np.arange(n)) * self._ratio - self._n_shares_gone  # where the samples lie among the shares that are kept
        kept = self._shares.peek(len(self._shares))
        high = self._mixture.take(n) - low[-1, :n]
        voices = np.stack([low[s, :n] + np.interp(at, np.arange(kept.shape[1]), kept[s]) * high for s in range(self.n_src)])
        gone = min(int(at[-1]), kept.shape[1] - 1)
        self._shares.take(gone)
        self._n_done, self._n_shares_gone = self._n_done + n, self._n_shares_gone + gone
        return voices.astype(np.float32)


def separate(samples: Any, sample_rate: int, speakers: Speakers = 2, model: Model = None, progress: Progress | None = None) -> np.ndarray:
    """Separate an array into one row per voice, in the level that each has in the mixture.

    Args:
        samples: `(T,)` or `(channels, T)`, whatever converts to a NumPy array; never changed. Channels are averaged. Integers of up to 32 bits
            are scaled by their type's full range (int16 by 1/32768).
        sample_rate: [Hz], 8,000 to 192,000.
        speakers: number of voices; "auto" counts them first, with `model` if it can, else with one that can, and takes a recording in which
            nobody is heard for one voice; then `model` separates, or the best for that number.
        model: as for `load`; or a separator: one that was loaded, or any callable with `facts`.
        progress: called with the seconds done and in all; returning False cancels.

    Returns:
        `(n_src, T)` float32.

    Raises:
        InputError: no samples, not finite, a shape that is no recording, or a sample rate out of range.
        UsageError: no such model, or none for this number of speakers.
        Cancelled: by `progress`.
    """
    mixture, sample_rate = as_mono(samples), as_whole(sample_rate, "sample_rate")
    separator = as_separator(model, speakers)
    if isinstance(separator, Separator) and separator.n_src is None:
        separator = after_counting(separator, count_speakers(separator, [mixture], sample_rate), model)
    separation = Separation(separator, sample_rate)
    voices = np.empty((separation.n_src, len(mixture)), np.float32)
    filled = 0
    block = BLOCK_S * sample_rate
    for start in range(0, len(mixture), block):
        report(progress, start / sample_rate, len(mixture) / sample_rate)
        ready = separation.feed(mixture[start : start + block])
        voices[:, filled : filled + ready.shape[1]] = ready
        filled += ready.shape[1]
    voices[:, filled:] = separation.flush()
    report(progress, len(mixture) / sample_rate, len(mixture) / sample_rate)
    return voices


@dataclass(frozen=True)
class FileResult:
    """What became of one input.

    Attributes:
        input: its name.
        outputs: one file per voice.
        speakers: how many voices were heard.
        silent: the outputs in which none was.
        duration_s: of the passage separated [s].
        sample_rate: of the outputs [Hz].
        model: name of the weights.
        real_time_factor: processing time over duration.
        rest: what no voice has, if asked for.
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
            key: list(map(str, value)) if isinstance(value, list) else str(value) if isinstance(value, Path) else value
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
) -> FileResult:
    """Separate a file into `out/<stem>/speaker-1.wav`, `speaker-2.wav`, …: read, separated and written block by block.

    Args:
        source: path, or binary file object.
        out: folder for the outputs; all of them appear, or none.
        speakers, model, progress: as for `separate`. To count, the file is read twice.
        format: "wav" (32-bit float), "flac", "mp3", "m4a" or "opus".
        channel: "mix", or the number of the one channel to separate, from 1.
        start_s, end_s: passage [s].
        rest: also write `rest.wav`: the mixture minus all voices.
        plot: also draw `spectrogram.png`, and `embeddings.png` of the first chunk where embeddings are clustered; needs matplotlib.
        overwrite: replace outputs of an earlier run.
        stem: name of the folder; the input's own unless given.

    Raises:
        InputError: the input cannot be read, or the outputs cannot be written.
        UsageError: no such model, format, channel, number of speakers or passage.
        Cancelled: by `progress`; nothing is left behind.
    """
    from unmingle.media import FORMATS, AudioWriter, open_audio

    if format not in FORMATS:
        raise UsageError(f"no format {format!r}; choose from {', '.join(FORMATS)}")
    if plot and not find_spec("matplotlib"):
        raise UsageError("a picture needs matplotlib; pip install 'unmingle[plot]'")
    separator = as_separator(model, speakers)
    began = time.perf_counter()
    with ExitStack() as stack:
        reader = stack.enter_context(open_audio(source, start_s=start_s, end_s=end_s))
        name, rate, estimated = reader.name, reader.sample_rate, reader.n_samples
        pick = pick_channel(channel, reader.n_channels, name)
        folder = Path(out) / (stem or output_stems([name])[0])
        counted = None
        if isinstance(separator, Separator) and separator.n_src is None:
            counted = count_speakers(separator, (one_channel(block, pick) for block in reader.blocks(BLOCK_S * rate)), rate)
            separator = after_counting(separator, counted, model)
            reader = stack.enter_context(open_audio(reader.file, start_s=start_s, end_s=end_s))
        separation = Separation(separator, rate)
        clusters = separator if isinstance(separator, Separator) and separator.facts.head in CLUSTERING else None
        names = [f"speaker-{index + 1}" for index in range(separation.n_src)] + ["rest"] * rest
        staged = stack.enter_context(OutputFolder(folder, overwrite))
        paths = [staged / f"{name}.{format}" for name in names]
        tracks = stack.enter_context(Tracks(paths, rate, format))
        drawn = stack.enter_context(AudioWriter(staged / "mixture.wav", sample_rate=rate)) if plot else None
        levels, stereo, waiting, n_read = np.zeros(separation.n_src + 1), StereoCall(rate), Queue(), 0

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
            mono = one_channel(block, pick)
            if pick is None and reader.n_channels == 2:
                stereo.feed(block)
            waiting.push(mono)
            write(separation.feed(mono))
            n_read += block.shape[1]
        write(separation.flush())
        gain = tracks.finish()
        report(progress, n_read / rate, n_read / rate)
        if drawn:
            from unmingle.pictures import plot_clusters, plot_separation

            drawn.close()
            plot_separation(drawn.path, paths[: separation.n_src], staged / "spectrogram.png")
            if clusters:
                plot_clusters(clusters, drawn.path, paths[: separation.n_src], staged / "embeddings.png")
            drawn.path.unlink()
    silent = [index for index in range(separation.n_src) if levels[index] <= 10 ** (SILENT_DB / 10) * levels[-1]]
    heard = separation.n_src - len(silent) if counted != 0 else 0
    notes = list(reader.warnings)
    if counted is not None:
        notes.append(f"{counted or 'no'} voice{'' if counted == 1 else 's'} counted")
    if pick is None and reader.n_channels > 1:
        notes.append(f"{reader.n_channels} channels were mixed to mono")
    if stereo.recognised():
        notes.append("each channel seems to hold a voice of its own, as in a stereo call: the channels themselves are the better separation")
    if gain < 1:
        notes.append(f"all outputs were lowered by {-20 * np.log10(gain):.1f} dB, because {format} would have clipped")
    if tracks.sample_rate != rate:
        notes.append(f"{format} has no {rate} Hz: written at {tracks.sample_rate} Hz")
    if silent:
        notes.append(f"{' and '.join(names[index] for index in silent)} silent: {heard or 'no'} voice{'' if heard == 1 else 's'} heard")
    files = [folder / f"{name}.{format}" for name in names]
    return FileResult(
        input=name,
        outputs=files[: separation.n_src],
        speakers=heard,
        silent=[files[index] for index in silent],
        duration_s=n_read / rate,
        sample_rate=tracks.sample_rate,
        model=getattr(separator, "name", type(separator).__name__),
        real_time_factor=(time.perf_counter() - began) * rate / n_read,
        rest=files[-1] if rest else None,
        plot=folder / "spectrogram.png" if plot else None,
        embeddings=folder / "embeddings.png" if plot and clusters else None,
        notes=notes,
    )


def count_speakers(separator: Separator, blocks: Iterable[np.ndarray], sample_rate: int) -> int:
    """How many voices a recording holds, in constant memory.

    It is cut into chunks of the separator's length, each at the level at which chunks are separated; the number that most of them hold counts,
    the larger one of two that are as frequent. Chunks more than 30 dB fainter than the loudest do not count.

    Args:
        separator: one that counts: its `n_src` is None, and it returns as many voices as it hears.
        blocks: the recording, `(T,)` each, at `sample_rate` [Hz].
    """
    facts, ahead = separator.facts, Queue()
    stream = None if sample_rate == facts.sample_rate else soxr.ResampleStream(sample_rate, facts.sample_rate, 1, dtype="float32")
    heard: list[tuple[float, int]] = []  # energy and number of voices of each chunk

    def listen(chunk: np.ndarray) -> None:
        level = np.float32(level_gain(chunk, facts.sample_rate))
        heard.append((float(np.vdot(chunk, chunk)), len(separator(level * chunk[None]))))

    for block in blocks:
        ahead.push(block if stream is None else stream.resample_chunk(np.ascontiguousarray(block, np.float32)))
        while len(ahead) >= facts.chunk:
            listen(ahead.take(facts.chunk))
    if stream is not None:
        ahead.push(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    if len(ahead) >= facts.sample_rate // 2 or not heard:
        listen(np.pad(ahead.take(len(ahead)), (0, 0 if len(ahead) else 1)))
    loudest = max(energy for energy, _ in heard)
    counts = Counter(n for energy, n in heard if energy >= 1e-3 * loudest)
    return max(counts, key=lambda n: (counts[n], n))


def after_counting(counter: Separator, counted: int, model: Model) -> SeparatorLike:
    """What separates so many voices: `model`, or the best for that number; the one that counted them if there is but one.

    Raises:
        UsageError: `model` has another number.
    """
    if counted <= 1:
        return counter.for_speakers(1)
    try:
        return as_separator(model, counted)
    except UsageError as error:
        raise UsageError(f"{counted} voices counted: {error}") from None


def as_separator(model: Model, speakers: Speakers) -> SeparatorLike:
    """What `model` names, or itself if it is a separator; with "auto" one that counts; UsageError if it is neither, or returns another number."""
    if isinstance(model, str | Path):
        model = load(model)
    if model is not None and (not callable(model) or not hasattr(model, "facts")):
        raise UsageError(f"model is {model!r:.80}; give a name, a path, or a separator, such as unmingle.load() returns")
    if speakers == "auto" and not (isinstance(model, Separator) and fits(model.facts, "auto")):
        return load(speakers="auto")
    speakers = speakers if speakers == "auto" else as_whole(speakers, "speakers")
    if model is None:
        return load(speakers=speakers)
    if isinstance(model, Separator):
        return model.for_speakers(speakers)
    if model.facts.n_src != speakers:
        raise UsageError(f"this separator returns {model.facts.n_src} voices, not {speakers}; ask for speakers={model.facts.n_src}")
    return model


def report(progress: Progress | None, done_s: float, total_s: float | None) -> None:
    """Tell how far it is; Cancelled if the answer is False."""
    if progress is not None and progress(done_s, total_s) is False:
        raise Cancelled(f"cancelled after {done_s:.1f} s of audio")


def output_stems(names: list[str]) -> list[str]:
    """A folder name for each input: its file name without suffix, numbered where several, whatever their case, have the same."""
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
