"""What voices are separated for: somebody who listens, whom the others disturb; or a recogniser of speech,
which is disturbed by whatever a network changes.

For a recogniser, the recording itself is given back wherever that costs nothing: docs/recognition.md.
"""

from typing import Any, Literal, get_args

import numpy as np

from unmingle.errors import UsageError
from unmingle.inference.frames import TINY, frame_energies, smooth
from unmingle.inference.queue import Queue

Purpose = Literal["listening", "recognition"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
RECOGNITION: Purpose = "recognition"

#: How far below the voice [dB] what an enhancer removes is all given back, and how far it is not at all.
CLEAN_DB, NOISY_DB = -28.0, -18.0
FRAME_S, AROUND = 0.1, 50  # in which that is measured: frames before and after


def for_recognition(purpose: Purpose, faces: Any = None, cues: Any = None) -> bool:
    """Whether it is for a recogniser.

    Raises:
        UsageError: there is no such purpose; or it is for a recogniser, and people are told apart by faces or
            other cues, which do not say where nobody else speaks.
    """
    if purpose not in PURPOSES:
        raise UsageError(f"purpose is {purpose!r:.80}; choose from {', '.join(PURPOSES)}")
    wrong = [name for name, value in (("faces", faces), ("cues", cues)) if value]
    if purpose == RECOGNITION and wrong:
        remedy = "leave them out, or separate for listening"
        raise UsageError(
            f"for recognition, it must be heard who speaks alone, and {wrong[0]} do not say; {remedy}"
        )
    return purpose == RECOGNITION


class NoiseGivenBack:
    """Joins a voice with what an enhancer has removed as they come: with all of it in a recording that is as
    good as clean, with less the noisier the ten seconds around are.

    Args:
        sample_rate: [Hz].
        keep: share that stays at least, 0 to 1.
    """

    def __init__(self, sample_rate: int, keep: float = 0.0) -> None:
        self._keep, self._frame = keep, max(1, round(FRAME_S * sample_rate))
        self._rows, self._share = Queue(), np.zeros(0)  # the last one, of the frame before
        self._power = np.zeros((2, 0))  # of voice and noise, in frames
        self._n_before = 0  # of these frames, those whose samples are returned

    def feed(self, rows: np.ndarray, last: bool = False) -> np.ndarray:
        """Take voice, noise and mixture `(3, t)`; return the voice `(1, t)` that is ready, all of it if these
        are the `last`.
        """
        self._rows.push(rows)
        n_measured = self._power.shape[1] - self._n_before
        new = self._rows.peek(len(self._rows))[:2, n_measured * self._frame :]
        whole = new.shape[1] if last else new.shape[1] // self._frame * self._frame
        power = np.concatenate([self._power, frame_energies(new[:, :whole], self._frame)], axis=1)
        n_ready = power.shape[1] - self._n_before - (0 if last else AROUND)
        if n_ready <= 0:
            self._power = power
            return np.zeros((1, 0), np.float32)
        near = smooth(power, 2 * AROUND + 1)[:, self._n_before : self._n_before + n_ready]
        share = share_given_back(*near).clip(self._keep)
        path = np.concatenate([self._share if len(self._share) else share[:1], share])
        first = max(0, self._n_before + n_ready - AROUND)
        self._power, self._n_before = power[:, first:], self._n_before + n_ready - first
        self._share = share[-1:]
        voice, noise, mixture = self._rows.take(n_ready * self._frame)
        at = np.interp(np.arange(len(voice)) / self._frame, np.arange(len(path)), path)
        return np.where(at < 1, voice + at * noise, mixture).astype(np.float32)[None]


def share_given_back(voice: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Share of what was removed that is given back, 0 to 1, by the powers of the voice and of that."""
    noise_db = 10 * np.log10((noise + TINY) / (voice + TINY))
    return ((NOISY_DB - noise_db) / (NOISY_DB - CLEAN_DB)).clip(0, 1)
