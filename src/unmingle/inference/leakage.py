"""Silences what leaks from one voice into the pauses of another."""

import numpy as np

from unmingle.inference.frames import TINY, frame_energies, frame_length, mel_bank, smooth, to_samples

PAUSE_DB, LEAK_DB, LEAK_SIMILARITY, GATE_DB = -25.0, -10.0, 0.6, -40.0


def silence_pauses(estimates: np.ndarray, sample_rate: int) -> np.ndarray:
    """Fade a voice out where it is absent: far below the others for half a second; or, where there are two,
    well below and a copy of the other for two seconds. Of three, the faintest resembles the sum of the others
    also where it is a voice.

    What is taken from it is leakage, and goes to the voices that are active there, so that the sum stays `(S,
    T)`.
    """
    frame = 2 * frame_length(sample_rate)
    energy = frame_energies(estimates, frame)  # (S, N)
    below_db, long_below_db = (
        10 * np.log10((part + TINY) / (part.sum(axis=0) + TINY))
        for part in (smooth(energy, 25), smooth(energy, 101))
    )
    leaks = np.zeros(energy.shape, bool)
    if len(estimates) == 2:
        alike = similarity(estimates, sample_rate, frame) > LEAK_SIMILARITY
        leaks = (long_below_db < LEAK_DB) & alike
    gain = smooth(10 ** (np.where(leaks, GATE_DB, (4 * (below_db - PAUSE_DB)).clip(GATE_DB, 0)) / 20), 11)
    audible = smooth(energy, 25) * gain**2 + TINY
    gain, shares = (
        to_samples(values, frame, estimates.shape[1]) for values in (gain, audible / audible.sum(axis=0))
    )
    return gain * estimates + shares * ((1 - gain) * estimates).sum(axis=0)


def similarity(estimates: np.ndarray, sample_rate: int, frame: int) -> np.ndarray:
    """Correlation `(S, N)`, over two seconds, of each estimate's log-mel spectrogram with that of the others:
    near 1 for a copy.

    On LibriSpeech it is above 0.6 in 99.9 % of leakage (14 dB down, through random masks) and in none of
    voices 15 dB below another.
    """
    n = estimates.shape[1]
    padded = np.pad(estimates, ((0, 0), (frame // 2, frame - frame // 2 + -n % frame)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * frame, axis=1)[:, ::frame] * np.hanning(
        2 * frame
    ).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, 4 * frame)) ** 2 @ mel_bank(sample_rate, 4 * frame).T  # (S, N, bands)

    def centred(power: np.ndarray) -> np.ndarray:
        pattern = np.log(np.maximum(power, 10**-3.5 * power.max(axis=(1, 2), keepdims=True)) + TINY)
        return pattern - pattern.mean(axis=1, keepdims=True)

    own, others = centred(power), centred(power.sum(axis=0) - power)
    products = [smooth((a * b).sum(axis=2), 101) for a, b in ((own, others), (own, own), (others, others))]
    return products[0] / np.sqrt(products[1] * products[2] + TINY)
