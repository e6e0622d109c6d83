"""What a voice is like, as a vector."""

from functools import lru_cache

import numpy as np

from unmingle.inference.voice_activity import RATE
from unmingle.runtime.loading import load_other

WINDOW_S = 1.6  # that the encoder was trained with
WINDOW, HOP, N_FFT, N_MELS = 160, 160, 400, 40  # frames, samples, samples, bands
LEVEL_DB = -30.0  # at which it was trained
AT_ONCE = 32  # windows in one pass of the network


def embed(pieces: list[np.ndarray]) -> np.ndarray:
    """Embed pieces of speech `(T,)` at 16 kHz, of any length above zero: `(len(pieces), D)`.

    A piece longer than `WINDOW_S` is the mean over windows that overlap by half; a shorter one is repeated.
    Vectors of one person vary around their mean with variance 1 in every dimension, and persons' means with
    the variance `spread()`: see `clustering.evidence`.

    References:
        L. Wan et al., "Generalized end-to-end loss for speaker verification", 2018; the network is
        Resemblyzer's (Apache-2.0), with a linear discriminant analysis of our own on top.
    """
    windows, owners = [], []
    for index, piece in enumerate(pieces):
        bands = mel_power(piece)
        if len(bands) < WINDOW:
            bands = np.resize(bands, (WINDOW, N_MELS))  # repeats it
        steps = max(1, round((len(bands) - WINDOW) / (WINDOW / 2)) + 1)
        for start in np.linspace(0, len(bands) - WINDOW, steps).round().astype(int):
            windows.append(bands[start : start + WINDOW])
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
    return np.concatenate([np.stack(windows), np.zeros((n - len(windows), WINDOW, N_MELS), np.float32)])


@lru_cache
def spread() -> np.ndarray:
    """Variance of people's means `(D,)`, in units of that of one person's vectors."""
    return load_other("speaker-encoder")(np.zeros((1, WINDOW, N_MELS), np.float32))[1]


def mel_power(samples: np.ndarray) -> np.ndarray:
    """Power in mel bands, at the level of the encoder's training: `(T,)` → `(N, 40)`."""
    rms = np.sqrt(np.mean(np.square(samples, dtype=np.float64))) + 1e-9
    padded = np.pad(samples * np.float32(10 ** (LEVEL_DB / 20) / rms), (N_FFT // 2, N_FFT // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    return (np.abs(np.fft.rfft(frames * window)) ** 2).astype(np.float32) @ slaney_bank().T


@lru_cache
def slaney_bank() -> np.ndarray:
    """Triangular filters of equal area `(40, 201)` on Slaney's mel scale: linear below 1 kHz, logarithmic
    above.
    """
    step, corner = 200 / 3, 15.0
    growth = np.log(6.4) / 27
    highest = corner + np.log(RATE / 2 / 1000) / growth
    mels = np.linspace(0, highest, N_MELS + 2)
    edges = np.where(mels < corner, mels * step, 1000 * np.exp(growth * (mels - corner)))
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    frequencies = np.fft.rfftfreq(N_FFT, 1 / RATE)
    rise, fall = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return (np.minimum(rise, fall).clip(0) * 2 / (high - low)).astype(np.float32)
