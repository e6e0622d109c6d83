"""Shares what lies above a separator's band between the voices."""

import numpy as np

from unmingle.inference.frames import TINY, frame_energies, frame_length, smooth, to_samples


def high_shares(estimates: np.ndarray, sample_rate: int, highest: float) -> np.ndarray:
    """Share `(S, T)` of each voice in the highest octave below `highest` [Hz], over 30 ms; where nothing is
    there, in all bands or for longer.

    Shares go by amplitude, not by energy: of estimates that are themselves unsure, that leaves less of a
    voice in the other.
    """
    frame, n = frame_length(sample_rate), estimates.shape[1]
    spectrum = np.fft.rfft(estimates)
    frequencies = np.fft.rfftfreq(n, 1 / sample_rate)
    spectrum[:, (frequencies < highest / 2) | (frequencies > 0.9 * highest)] = 0
    energy = smooth(frame_energies(np.fft.irfft(spectrum, n), frame), 3)
    broad = smooth(frame_energies(estimates, frame), 3)
    energy += 1e-4 * broad + 1e-7 * broad.mean(axis=1, keepdims=True) + TINY
    amplitude = np.sqrt(energy)
    return to_samples(amplitude / amplitude.sum(axis=0), frame, n)
