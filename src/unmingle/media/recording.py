"""What a recording may be: files and folders of them, an array of samples, its channels, and which of these
is wanted.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from unmingle.errors import InputError, UsageError
from unmingle.facts import MOST_MICS

#: That a sample may be, where full scale is 1: the squares of larger ones exceed what float32 holds, and what
#: comes of that, an encoder may not survive.
LOUDEST = 1e10
AUDIO_SUFFIXES = (
    *(
        ".wav",
        ".w64",
        ".flac",
        ".mp3",
        ".m4a",
        ".m4b",
        ".aac",
        ".ogg",
        ".oga",
        ".opus",
        ".aif",
        ".aiff",
        ".caf",
        ".au",
        ".wma",
        ".amr",
        ".ac3",
        ".wv",
        ".tta",
    ),
    *(
        ".mp4",
        ".m4v",
        ".mov",
        ".mkv",
        ".mka",
        ".webm",
        ".avi",
        ".3gp",
        ".wmv",
        ".flv",
        ".ts",
        ".mpg",
        ".mpeg",
    ),
)


def find_inputs(paths: Iterable[str | Path]) -> list[Path]:
    """List the files to read: a file as it is, a folder as the audio files below it, sorted, without hidden
    ones.

    A missing path, or a folder with no audio in it, stays in the list: `open_audio` says what is wrong with
    it, and the others are still done.
    """
    found = []
    for path in map(Path, paths):
        inside = (
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file()
        )
        found += [
            file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)
        ] or [path]
    return found


def what_is_in(folder: Path) -> str:
    """Why a folder is no recording, and what to do, as the end of a message."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return "that may not be read; check its permissions"
    if find_inputs([folder]) != [folder]:
        return "of files, not a file; give one of them (the command line takes whole folders)"
    return "with no audio file in it; choose a file or another folder"


def as_whole(number: Any, name: str) -> int:
    """A whole number, given as an int or a float; UsageError if it is something else."""
    if (
        not isinstance(number, int | float | np.integer | np.floating)
        or isinstance(number, bool)
        or number != number // 1
    ):
        raise UsageError(f"{name} is {number!r:.80}; give a whole number")
    return int(number)


def as_channels(samples: Any) -> np.ndarray:
    """Check an array `(T,)` or `(C, T)` and make it float32 `(C, T)`; InputError says what
    is wrong with it.
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
        raise InputError(
            f"samples of shape {array.shape} and type {array.dtype} are no recording; give (T,) or "
            "(channels, T), floats or integers"
        )
    if not array.size:
        raise InputError("no samples to separate; give at least one")
    if array.ndim == 2 and array.shape[0] > array.shape[1] and array.shape[1] <= MOST_MICS:
        raise InputError(
            f"samples of shape {array.shape} look like (T, channels); give (channels, T), that is samples.T"
        )
    if array.dtype.itemsize > 4 and array.dtype.kind in "iu":
        raise InputError(
            f"samples of type {array.dtype} have no agreed full scale; give int16, int32 or floats in -1…1"
        )
    if array.dtype.kind in "iu":
        half = 2.0 ** (8 * array.dtype.itemsize - 1)
        array = array / half - (array.dtype.kind == "u")
    if not np.isfinite(array).all():
        raise InputError("samples hold NaN or infinite values; remove them first")
    if np.abs(array).max() > LOUDEST:
        raise InputError(f"samples hold values beyond {LOUDEST:g}, where full scale is 1; scale them first")
    return np.array(np.atleast_2d(array), np.float32)


def at_microphones(
    block: np.ndarray, n_mics: int | None, pick: list[int] | None = None, name: str = "samples"
) -> np.ndarray:
    """The channels `(C, T)` that a separator gets: those of the indices `pick`, in that order, or for a
    single microphone the mean of all. This is the only place where channels are mixed.

    Raises:
        InputError: another number of channels than the separator has microphones.
    """
    if pick is not None:
        block = block[pick]
    elif n_mics == 1 and len(block) > 1:
        block = block.mean(axis=0, keepdims=True)
    if n_mics not in (None, len(block)):
        has = f"{len(block)} channel{'' if len(block) == 1 else 's'}"
        remedy = f"give a recording of {n_mics}, or choose another model"
        raise InputError(f"{name}: {has}, and this separator takes {n_mics} microphones; {remedy}")
    return block


def pick_channel(channel: str | int, n_channels: int, name: str) -> list[int] | None:
    """Index of the channel to separate, from its number, in a list; None = all, mixed."""
    if channel == "mix":
        return None
    if str(channel).isdecimal() and 1 <= int(channel) <= n_channels:
        return [int(channel) - 1]
    raise UsageError(f"{name}: no channel {channel!r}; choose mix or a number from 1 to {n_channels}")


class StereoCall:
    """Recognises two channels that hold a voice each: both come and go, each in its own time, and their
    samples have nothing in common.
    """

    def __init__(self, sample_rate: int) -> None:
        self._frame = sample_rate // 20
        self._levels_db: list[np.ndarray] = []  # (2, N) of frames of 50 ms, a few hundred kilobytes per hour
        self._products = np.zeros(3)  # of left with itself, right with itself, left with right

    def feed(self, block: np.ndarray) -> None:
        """Take `(2, t)`."""
        self._products += [np.vdot(block[i], block[j]) for i, j in ((0, 0), (1, 1), (0, 1))]
        n = block.shape[1] // self._frame
        if n:
            frames = block[:, : n * self._frame].reshape(2, n, self._frame)
            self._levels_db.append(
                (10 * np.log10(np.mean(np.square(frames), axis=2) + 1e-12)).astype(np.float32)
            )

    def recognised(self) -> bool:
        """Whether both channels hold speech (within 25 dB, of levels that vary) and neither their samples nor
        their levels go together.
        """
        left, right, both = self._products
        if (
            not self._levels_db
            or min(left, right) <= 10**-2.5 * max(left, right)
            or abs(both) > 0.3 * np.sqrt(left * right)
        ):
            return False
        levels = np.concatenate(self._levels_db, axis=1)
        levels = levels.clip(min=levels.max(axis=1, keepdims=True) - 40)
        active = levels[:, (levels > levels.max(axis=1, keepdims=True) - 30).any(axis=0)]
        return (
            active.shape[1] >= 40
            and bool((active.std(axis=1) > 4).all())
            and float(np.corrcoef(active)[0, 1]) < 0.3
        )
