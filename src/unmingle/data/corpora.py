"""Corpora: lists of recordings with a speaker and a split, decoded once into a memory-mapped cache."""

import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

from unmingle.console import say, track
from unmingle.data.decoded import Decoded
from unmingle.data.utterance import Utterance
from unmingle.data.video_corpora import PICTURE_SUFFIXES, SOUND_SUFFIXES, read_video_corpus
from unmingle.errors import InputError
from unmingle.media.audio import open_audio

URBANSOUND = Path("metadata/UrbanSound8K.csv")  # in the folder of UrbanSound8K
URBANSOUND_SPLITS = {"10": "valid", "9": "test"}  # by fold; the other folds are for training
CORPUS_SUFFIXES = SOUND_SUFFIXES + PICTURE_SUFFIXES
LIBSNDFILE = (".wav", ".flac", ".ogg", ".opus", ".mp3")  # what it reads; FFmpeg's libraries read the others
CLIPS = "clips.csv"  # in what was downloaded of AVSpeech or AudioSet


def read_recordings(
    source: str | Path, root: str | Path | None = None, *, picture: bool = False
) -> list[Utterance]:
    """List the recordings that a CSV file or a folder describes.

    Args:
        source: a CSV file with a column `path` and, where known, `speaker` (or `kind`), `corpus`, `split` and
            `transcript`; a folder that holds one folder per speaker, such as LibriSpeech/train-clean-100; the
            folder of LRS2, VoxCeleb2 or GRID (see `read_video_corpus`); what `unmingle avspeech download`
            wrote; or the folder of UrbanSound8K, whose classes are kinds of noise, whose fold 10 is "valid",
            9 "test" and whose others are "train".
        root: folder that the CSV's paths start from; the CSV's own folder unless given.
        picture: only files with a picture; else one file per clip.

    Raises:
        FileNotFoundError: there is no such CSV or folder, or it names a file that is not there.
        ValueError: no recording in it, or the CSV lacks the column `path`.
    """
    source = Path(source)
    if (source / URBANSOUND).is_file() or any(source.glob("audio/fold*")):
        return _urbansound(source)
    if (source / CLIPS).is_file():
        source /= CLIPS
    if source.is_dir():
        return _folder(source, PICTURE_SUFFIXES if picture else CORPUS_SUFFIXES)
    if not source.is_file():
        remedy = "give yours: data.speech=LibriSpeech/train-clean-100 'data.corpora=[]'"
        raise FileNotFoundError(f"{source}: no such CSV file or folder of recordings; {remedy}")
    root = Path(root) if root is not None else source.parent
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{source}: no rows")
    if "path" not in rows[0]:
        raise ValueError(f"{source}: no column 'path'; it has {', '.join(rows[0])}")
    found = []
    for row in rows:
        path = root / row["path"]
        found.append(
            Utterance(
                path,
                row.get("speaker") or row.get("kind") or path.parent.name,
                row.get("corpus", ""),
                row.get("split", "train"),
                row.get("transcript", ""),
            )
        )
    if picture:
        found = [recording for recording in found if recording.path.suffix.lower() in PICTURE_SUFFIXES]
    missing = [recording.path for recording in found if not recording.path.is_file()]
    if missing:
        count = f"{len(missing)} of {len(found)} missing"
        raise FileNotFoundError(
            f"{missing[0]}: named in {source} but not there ({count}); unpack the archives below {root}"
        )
    return found


def _folder(source: Path, suffixes: tuple[str, ...]) -> list[Utterance]:
    """A corpus whose layout is known, or a folder of folders, one per speaker."""
    found = read_video_corpus(source, picture=suffixes == PICTURE_SUFFIXES)
    if not found:
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes)
        found = [Utterance(path, path.relative_to(source).parts[0], source.name) for path in files]
    if not found:
        what = "video" if suffixes == PICTURE_SUFFIXES else "audio"
        raise ValueError(f"{source}: no {what} file in this folder ({', '.join(suffixes)})")
    return found


def _urbansound(folder: Path) -> list[Utterance]:
    """UrbanSound8K as it comes on disk: a table, and the excerpts in ten folds, of which no two have a
    recording in common.
    """
    expected = f"expected {URBANSOUND.as_posix()} and audio/fold1 to audio/fold10"
    there = ", ".join(
        sorted(
            path.relative_to(folder).as_posix()
            for path in [*folder.glob("metadata/*.csv"), *folder.glob("audio/fold*")]
        )
    )
    if not (folder / URBANSOUND).is_file():
        raise FileNotFoundError(f"{folder}: {expected} of UrbanSound8K; found {there}")
    with (folder / URBANSOUND).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ("slice_file_name", "fold", "class")
    if not rows or not set(columns) <= rows[0].keys():
        raise ValueError(
            f"{folder / URBANSOUND}: expected the columns {', '.join(columns)}; found "
            f"{', '.join(rows[0]) if rows else 'no rows'}"
        )
    found = []
    for row in rows:
        path = folder / "audio" / f"fold{row['fold']}" / row["slice_file_name"]
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: named in {folder / URBANSOUND} but not there; {expected}; found {there}"
            )
        found.append(
            Utterance(path, row["class"], "UrbanSound8K", URBANSOUND_SPLITS.get(row["fold"], "train"))
        )
    return found


def check_splits(recordings: list[Utterance]) -> None:
    """Raise ValueError if a speaker stands in more than one split."""
    splits: dict[str, str] = {}
    for recording in recordings:
        first = splits.setdefault(recording.speaker, recording.split)
        if first != recording.split:
            raise ValueError(
                f"speaker {recording.speaker} is in the splits {first!r} and {recording.split!r}; a speaker "
                "may be in one only"
            )


class Corpus(Decoded):
    """Recordings decoded to mono 16-bit samples in one memory-mapped file.

    Attributes:
        recordings: what is in it, in order.
        sample_rate: of every recording, resampled where needed [Hz].

    Args:
        recordings: the files; stereo is averaged to mono.
        sample_rate: wanted rate [Hz].
        cache: folder for the decoded samples; see `Decoded`.
        name: what the progress bar calls it.

    Raises:
        ValueError: no recordings, or one of them cannot be decoded; the message names it.
    """

    suffix = ".i16"

    def __init__(
        self, recordings: list[Utterance], *, sample_rate: int, cache: str | Path, name: str = "recordings"
    ) -> None:
        if not recordings:
            raise ValueError(f"no {name} to decode")
        self.sample_rate, self._cache, self._name = sample_rate, cache, name
        super().__init__(recordings, cache, sample_rate)

    def _open(self, path: Path) -> np.ndarray:
        return np.memmap(path, "<i2", "r")

    def _decode(self) -> Iterator[np.ndarray]:
        say(f"decoding {len(self.recordings)} files ({self._name}) into {self._cache}, once")
        with ThreadPoolExecutor() as pool:
            decoded = pool.map(lambda recording: read_mono(recording.path, self.sample_rate), self.recordings)
            for samples in track(decoded, f"decoding {self._name}", len(self.recordings)):
                yield (samples.clip(-1, 1) * 32767).round().astype("<i2")

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Samples `start` to `stop` of one recording, float32 `(T,)` in −1…1."""
        return self.rows(index, start, stop).astype(np.float32) / 32767


def read_mono(path: Path, sample_rate: int) -> np.ndarray:
    """Decode one file of a corpus to mono float32 `(T,)` at `sample_rate` [Hz]; ValueError names a file that
    cannot be read.
    """
    try:
        samples, rate = read_channels(path)
    except InputError as error:
        raise ValueError(str(error)) from None
    mono = samples.mean(axis=0)
    return mono if rate == sample_rate else soxr.resample(mono, rate, sample_rate)


def read_channels(path: Path) -> tuple[np.ndarray, int]:
    """Decode a file, which may be a video, to float32 `(C, T)`, and its sample rate [Hz]."""
    if path.suffix.lower() not in LIBSNDFILE:
        with open_audio(path) as reader:
            return np.concatenate(list(reader.blocks(1 << 20)), axis=1), reader.sample_rate
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: cannot be decoded ({error.error_string})") from None
    return np.ascontiguousarray(samples.T), rate
