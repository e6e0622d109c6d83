"""Several microphones: which channels of a recording are used, and which of them is the reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unmingle.errors import InputError, UsageError
from unmingle.facts import MOST_MICS
from unmingle.media.recording import as_whole

Mics = str | Sequence[int]  # "all", or numbers from 1: [1, 3] or "1,3"

FRAME_S = 0.05
LOWEST_DB, HIGHEST_DB = -90, 20  # of a frame's level; what is beyond counts as these
LOUD, QUIET = 0.95, 0.1  # shares of the frames that are below the loud and the quiet level
SILENT = 1e-6, 1e-10  # of the loudest microphone's power, and of the full scale's: below, nothing is heard
FULL_SCALE, FLAT = 0.99, 1e-3  # neighbouring samples above the first that differ less than the second
CLIPPED = 1e-4  # share of such samples from which on a microphone is clipped
TOGETHER, VARIES_DB, COPY = 0.6, 3.0, 1e-4  # see `same_voices`


@dataclass(frozen=True)
class Microphones:
    """The channels that are used.

    Attributes:
        order: their indices, the reference first.
        notes: one sentence each: which is the reference, which were left out or are clipped.
    """

    order: list[int]
    notes: list[str]


class Channels:
    """What the channels of a recording are like, as it comes, in constant memory.

    Args:
        n_channels: how many there are.
        sample_rate: [Hz].
    """

    def __init__(self, n_channels: int, sample_rate: int) -> None:
        self._frame = max(1, round(FRAME_S * sample_rate))
        self._counts = np.zeros((n_channels, HIGHEST_DB - LOWEST_DB + 1), int)  # of frames, by level
        self._powers, self._flat = np.zeros(n_channels), np.zeros(n_channels)
        self._n = 0
        self._sums = np.zeros(n_channels)  # of levels; below, of their products, and those of samples
        self._level_products, self._products = np.zeros((2, n_channels, n_channels))

    def feed(self, block: np.ndarray) -> None:
        """Take `(C, t)`."""
        frame = min(self._frame, block.shape[1])
        if not frame:
            return
        frames = block[:, : block.shape[1] // frame * frame].reshape(len(block), -1, frame)
        # Not the mean of squares: what stands at one value is silent.
        powers = frames.var(axis=2, dtype=np.float64)
        levels = (10 * np.log10(powers + 1e-30)).clip(LOWEST_DB, HIGHEST_DB)
        for counts, row in zip(self._counts, levels.round().astype(int) - LOWEST_DB, strict=True):
            counts += np.bincount(row, minlength=len(counts))
        self._sums += levels.sum(axis=1)
        self._level_products += levels @ levels.T
        self._products += block @ block.T
        self._powers += frame * powers.sum(axis=1)
        high = np.abs(block[:, 1:]) >= FULL_SCALE
        self._flat += (high & (np.abs(np.diff(block)) < FLAT)).sum(axis=1)
        self._n += block.shape[1]

    @property
    def silent(self) -> np.ndarray:
        """Whether a channel is silent or nearly so: bool `(C,)`."""
        relative, absolute = SILENT
        return self._powers <= max(relative * self._powers.max(), absolute * self._n)

    @property
    def clipped(self) -> np.ndarray:
        """Whether a channel stays at the full scale now and then: bool `(C,)`."""
        return self._flat >= CLIPPED * max(self._n, 1)

    @property
    def spreads_db(self) -> np.ndarray:
        """How far loud frames lie above quiet ones, the more the closer the voices are and the less noise
        there is: whole decibels `(C,)`.
        """
        shares = self._counts.cumsum(axis=1) / self._counts.sum(axis=1, keepdims=True).clip(1)
        loud, quiet = ((shares >= share).argmax(axis=1) for share in (LOUD, QUIET))
        return loud - quiet

    def same_voices(self) -> bool:
        """Whether channels hold the same voices, but are no copies of each other: whatever is not silent
        comes and goes together.
        """
        heard = np.flatnonzero(~self.silent)
        n_frames = self._counts[0].sum()
        if len(heard) < 2 or not n_frames:
            return False
        means = self._sums[heard] / n_frames
        covariance = self._level_products[np.ix_(heard, heard)] / n_frames - np.outer(means, means)
        deviations = np.sqrt(covariance.diagonal().clip(1e-12))
        products = self._products[np.ix_(heard, heard)]
        power = products.diagonal()
        alike = np.square(products) / np.outer(power, power)
        return bool(
            (deviations > VARIES_DB).all()
            and (covariance / np.outer(deviations, deviations)).min() > TOGETHER
            and alike.min() < 1 - COPY
        )

    def choose(self, wanted: Sequence[int], reference: int | None, name: str) -> Microphones:
        """Leave out what is silent, and put the reference first.

        Args:
            wanted: indices of the channels that may be used.
            reference: index of the first; unless given, that of the largest spread which is not clipped.
            name: of the recording.

        Raises:
            InputError: less than two are not silent, or the reference is.
        """
        silent, clipped = self.silent, self.clipped
        heard = [index for index in wanted if not silent[index]]
        if not heard:
            raise InputError(f"{name}: all of these microphones are silent; choose others, or another file")
        if len(heard) == 1:
            remedy = f"separate it alone: channel {heard[0] + 1} without microphones"
            raise InputError(f"{name}: only microphone {heard[0] + 1} is not silent; {remedy}")
        if reference is not None and silent[reference]:
            remedy = "choose another, or leave the choice to unmingle"
            raise InputError(f"{name}: microphone {reference + 1}, the reference, is silent; {remedy}")
        if reference is None:
            spreads = self.spreads_db
            reference = max(heard, key=lambda index: (not clipped[index], spreads[index]))
        notes = [f"{len(heard)} microphones; the reference is microphone {reference + 1}"]
        if len(heard) < len(wanted):
            notes.append(f"{numbered([k for k in wanted if silent[k]])} silent, and left out")
        if any(clipped[heard]):
            notes.append(f"{numbered([k for k in heard if clipped[k]])} clipped: record at a lower level")
        return Microphones([reference, *(index for index in heard if index != reference)], notes)


def numbered(indices: Sequence[int]) -> str:
    """Such as "microphone 2 is", "microphones 1 and 3 are"."""
    *first, last = [str(index + 1) for index in indices]
    return f"microphones {', '.join(first)} and {last} are" if first else f"microphone {last} is"


def check_mics(mics: Any, reference_mic: Any) -> None:
    """UsageError unless these may be numbers of microphones, and of the reference among them."""
    if mics is None:
        if reference_mic is not None:
            raise UsageError("reference_mic needs mics; give these too, or leave it out")
        return
    numbers = mic_numbers(mics)
    if numbers is not None:
        if min(numbers, default=1) < 1:
            raise UsageError(f"no microphone {min(numbers)}; they are numbered from 1")
        if len(set(numbers)) < len(numbers):
            raise UsageError("a microphone is named twice; give each number once")
        if len(numbers) < 2:
            remedy = "give two or more, or take one alone as the channel"
            raise UsageError(f"less than two microphones; {remedy}")
        if len(numbers) > MOST_MICS:
            raise UsageError(f"{len(numbers)} microphones are too many; give {MOST_MICS} at most")
    if reference_mic is not None:
        number = as_whole(reference_mic, "reference_mic")
        if number < 1 or (numbers is not None and number not in numbers):
            raise UsageError(f"the reference, microphone {number}, is not in use; choose one that is")


def mic_numbers(mics: Any) -> list[int] | None:
    """The numbers that [1, 3] or "1,3" are, None for "all"; UsageError if it is something else."""
    if isinstance(mics, str):
        parts = [part.strip() for part in mics.split(",")]
        if mics == "all" or all(part.isdecimal() for part in parts):
            return None if mics == "all" else [int(part) for part in parts]
    elif isinstance(mics, Sequence):
        return [as_whole(number, "a microphone") for number in mics]
    raise UsageError(f"no microphones {mics!r:.80}; give all, or numbers of channels such as 1,3")


def find_mics(
    mics: Mics, reference_mic: int | None, n_channels: int, name: str
) -> tuple[list[int], int | None]:
    """Indices of the channels that are wanted, and that of the reference; both passed `check_mics`.

    Raises:
        InputError: the recording has one channel, or too many.
        UsageError: one is not there.
    """
    if n_channels == 1:
        remedy = "leave the microphones out"
        raise InputError(f"{name}: has one channel, and several microphones are to be used; {remedy}")
    numbers = mic_numbers(mics)
    if numbers is None:
        if n_channels > MOST_MICS:
            remedy = f"choose up to {MOST_MICS} of them by their numbers"
            raise InputError(f"{name}: {n_channels} channels are too many microphones; {remedy}")
        wanted = list(range(n_channels))
    else:
        wanted = [number - 1 for number in numbers]
    reference = None if reference_mic is None else int(reference_mic) - 1
    for index in (*wanted, *(() if reference is None else (reference,))):
        if index >= n_channels:
            remedy = f"choose from 1 to {n_channels}"
            raise UsageError(f"{name}: no microphone {index + 1}; {remedy}")
    return wanted, reference
