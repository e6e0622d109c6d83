"""The short-time Fourier transform, in NumPy, as runtimes and measures share it."""

import numpy as np


def stft(samples: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Complex spectrum `(…, F, N)` of `(…, T)`, equal to `layers.stft.STFT`, whose padding it shares."""
    padded = np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(n_fft - hop, n_fft - 1)])
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=-1)[..., ::hop, :]
    return np.swapaxes(np.fft.rfft(frames * _window(n_fft)), -1, -2) / n_fft**0.5


def inverse_stft(spectrum: np.ndarray, hop: int, length: int) -> np.ndarray:
    """`(…, F, N)` → `(…, length)` float32; `length` is that of the signal that was analysed [samples]."""
    n_fft, n_frames = 2 * (spectrum.shape[-2] - 1), spectrum.shape[-1]
    frames = (
        np.fft.irfft(np.swapaxes(spectrum, -1, -2), n_fft) * _window(n_fft) * (n_fft**0.5 / (n_fft / hop / 2))
    )
    parts = frames.reshape(*frames.shape[:-1], n_fft // hop, hop)
    samples = np.zeros((*spectrum.shape[:-2], n_frames + n_fft // hop - 1, hop), np.float32)
    for part in range(n_fft // hop):  # the same part of all frames lies side by side, without overlap
        samples[..., part : part + n_frames, :] += parts[..., part, :]
    start = n_fft - hop
    return samples.reshape(*spectrum.shape[:-2], -1)[..., start : start + length]


def _window(n_fft: int) -> np.ndarray:
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
