"""Recordings of several microphones, and a toy that hears them."""

from pathlib import Path

import numpy as np
import soundfile
from test_microphones import Weighs
from test_separation import noise, spans, voice

RATE = 16_000
SECONDS = 12


def meeting(n_mics: int, noises: list[float] | None = None) -> np.ndarray:
    """Two voices in turns that overlap, at microphones `(C, T)` that hear them earlier or later."""
    one = spans(voice(110, 500, SECONDS, 1), (0, 6))
    two = spans(voice(230, 2000, SECONDS, 2), (4, 11))
    levels = noises or [0.001] * n_mics
    heard = [
        np.roll(one, k) + np.roll(two, 5 - k) + level * noise(len(one), k) for k, level in enumerate(levels)
    ]
    return np.stack(heard).astype(np.float32)


def written(folder: Path, channels: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(folder / "meeting.wav", channels.T, rate, "FLOAT")
    return folder / "meeting.wav"


class Hears(Weighs):
    """Toy for any number of microphones that returns the first, in two halves, and keeps all it was given."""

    def __init__(self) -> None:
        super().__init__(None, 1)
        self.heard: list[np.ndarray] = []

    def __call__(self, mixture: np.ndarray) -> np.ndarray:
        self.heard.append(mixture)
        return np.stack([0.5 * mixture[0], 0.5 * mixture[0]])
