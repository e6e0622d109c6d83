"""Oracles: masks made from the references themselves, on a short-time Fourier transform: the ceiling for a
separator that estimates such a mask.
"""

from collections.abc import Callable

import numpy as np

from unmingle.spectrogram import inverse_stft, stft

HOP_S = 0.008
OVERLAP = 4  # frames of 32 ms

Masks = Callable[
    [np.ndarray, np.ndarray], np.ndarray
]  # mixture (F, N) and parts (P, F, N), which sum to it, to masks (P, F, N)


def oracle(name: str, mixture: np.ndarray, references: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mask the mixture's spectrogram (32 ms, every 8 ms, square root of a Hann window) as well as a kind of
    mask can, knowing the references.

    What the references do not explain, noise, is a further part of the mixture: it has a mask of its own,
    which is dropped.

    Args:
        name: a key of `ORACLES`.
        mixture, references: `(T,)`, `(S, T)`.
        sample_rate: [Hz].

    Returns:
        Estimates `(S, T)`, float32, in the order of the references.
    """
    hop = round(HOP_S * sample_rate)
    n_fft = OVERLAP * hop
    noise = mixture - references.sum(axis=0, dtype=np.float64)
    spectra = stft(np.concatenate([references, noise[None]]), n_fft, hop)
    mixed = stft(mixture, n_fft, hop)
    masks = ORACLES[name](mixed, spectra)[:-1]
    return inverse_stft(masks * mixed, hop, len(mixture))


def binary(mixed: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Ideal binary mask: 1 for the loudest part of each bin."""
    return (np.abs(parts).argmax(axis=0) == np.arange(len(parts))[:, None, None]).astype(np.float64)


def ratio(mixed: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Ideal ratio mask: `|S| / Σ|S|`."""
    return shares(np.abs(parts))


def wiener(mixed: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Wiener-like mask: `|S|² / Σ|S|²`."""
    return shares(np.square(np.abs(parts)))


def phase_sensitive(mixed: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Phase-sensitive mask: `|S| cos(∠S − ∠X) / |X|`, the best that is real; not limited to 0 … 1."""
    return complex_ratio(mixed, parts).real


def complex_ratio(mixed: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Complex ideal ratio mask: `S / X`."""
    return np.divide(parts, mixed, out=np.zeros_like(parts), where=mixed != 0)


def shares(levels: np.ndarray) -> np.ndarray:
    """Each level over the sum of all, along the first axis; 0 where all are."""
    total = levels.sum(axis=0)
    return np.divide(levels, total, out=np.zeros_like(levels), where=total > 0)


#: by the names that `evaluate` and `compare` take
ORACLES: dict[str, Masks] = {
    "oracle-ibm": binary,
    "oracle-irm": ratio,
    "oracle-wiener": wiener,
    "oracle-psm": phase_sensitive,
    "oracle-cirm": complex_ratio,
}
