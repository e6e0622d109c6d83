"""What a voice is like, as a vector."""

from functools import lru_cache

import numpy as np

from unmingle.inference.voice_activity import RATE
from unmingle.runtime.loading import load_other

WINDOW, HOP, FRAME, N_FFT, N_BANDS = 160, 160, 400, 512, 80  # frames; samples, samples, samples; bands
EMPHASIS, TINY = 0.97, 1e-7  # of high frequencies; the smallest power
AT_ONCE = 8  # windows in one pass of the network


def embed(pieces: list[np.ndarray]) -> np.ndarray:
    """Embed pieces of speech `(T,)` at 16 kHz, of any length above zero: vectors of length 1 or less
    `(len(pieces), D)`.

    A piece longer than `WINDOW` frames is the mean over windows that overlap by half; a shorter one is
    repeated. The mean of everybody's vectors is zero, so that the cosine tells whether two are one person.

    References:
        H. Wang et al., "CAM++: A fast and efficient network for speaker verification using context-aware
        masking", 2023; the network is 3D-Speaker's (Apache-2.0).
    """
    windows, owners = [], []
    for index, piece in enumerate(pieces):
        bands = log_bands(piece)
        if len(bands) < WINDOW:
            bands = np.resize(bands, (WINDOW, N_BANDS))  # repeats it
        steps = max(1, round((len(bands) - WINDOW) / (WINDOW / 2)) + 1)
        for start in np.linspace(0, len(bands) - WINDOW, steps).round().astype(int):
            own = bands[start : start + WINDOW]
            windows.append(own - own.mean(axis=0))
            owners.append(index)
    run = load_other("speaker-encoder")
    batches = [windows[k : k + AT_ONCE] for k in range(0, len(windows), AT_ONCE)]
    found = np.concatenate([run(padded_batch(batch))[0][: len(batch)] for batch in batches])
    sums = np.zeros((len(pieces), found.shape[1]), np.float32)
    np.add.at(sums, owners, found)
    return sums / np.bincount(owners, minlength=len(pieces))[:, None]


def padded_batch(windows: list[np.ndarray]) -> np.ndarray:
    """Windows as an array whose first axis is a power of two, 8 at least: what OpenVINO prepares for every
    other number of them stays in memory.
    """
    n = max(8, 1 << (len(windows) - 1).bit_length())
    return np.concatenate([np.stack(windows), np.zeros((n - len(windows), WINDOW, N_BANDS), np.float32)])


def log_bands(samples: np.ndarray) -> np.ndarray:
    """Logarithm of the power in mel bands, as Kaldi computes it: `(T,)` → `(N, 80)`."""
    whole = np.resize(samples, max(FRAME, len(samples)))  # repeats what is shorter than a frame
    frames = np.lib.stride_tricks.sliding_window_view(whole, FRAME)[::HOP] * np.float32(2**15)
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - EMPHASIS * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    window = (np.hanning(FRAME) ** 0.85).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, N_FFT)) ** 2
    return np.log(np.maximum(power.astype(np.float32) @ band_filters().T, TINY))


@lru_cache
def band_filters() -> np.ndarray:
    """Triangular filters `(80, 257)` from 20 Hz on, equally wide in mel."""

    def mel(frequency: np.ndarray) -> np.ndarray:
        return 1127 * np.log1p(frequency / 700)

    low, high = mel(np.array([20, RATE / 2]))
    edges, at = np.linspace(low, high, N_BANDS + 2), mel(np.fft.rfftfreq(N_FFT, 1 / RATE))
    width = edges[1] - edges[0]
    rise, fall = (at - edges[:-2, None]) / width, (edges[2:, None] - at) / width
    return np.minimum(rise, fall).clip(0).astype(np.float32)
