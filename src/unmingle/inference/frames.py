"""Short frames: energies, moving averages, mel bands."""

import numpy as np

FRAME_S = 0.01
TINY = 1e-30


def mel_bank(sample_rate: int, n_fft: int, n_bands: int = 24) -> np.ndarray:
    """Triangular filters `(n_bands, F)`, equally wide in mel between 100 Hz and 7 kHz or 0.45 of the rate."""
    edges = 700 * (
        10
        ** (np.linspace(150.5, 2595 * np.log10(1 + min(7000, 0.45 * sample_rate) / 700), n_bands + 2) / 2595)
        - 1
    )
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    frequencies = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    return np.minimum((frequencies - low) / (middle - low), (high - frequencies) / (high - middle)).clip(0)


def frame_length(sample_rate: int) -> int:
    """Length of the frames in which energies are counted [samples]."""
    return round(FRAME_S * sample_rate)


def frame_energies(samples: np.ndarray, frame: int) -> np.ndarray:
    """Sums of squares `(S, N)` of `(S, T)` over frames; the last one may be shorter."""
    padded = np.pad(samples, ((0, 0), (0, -samples.shape[1] % frame)))
    blocks = padded.reshape(len(samples), -1, frame)
    return np.einsum("snt,snt->sn", blocks, blocks, dtype=np.float64)


def smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Moving average `(S, N)` over `width` (odd) frames, fewer at the ends."""
    sums = np.pad(values.cumsum(axis=1), ((0, 0), (1, 0)))
    n, centre = values.shape[1], np.arange(values.shape[1])
    low, high = (centre - width // 2).clip(0), (centre + width // 2 + 1).clip(max=n)
    return ((sums[:, high] - sums[:, low]) / (high - low)).clip(0)


def to_samples(values: np.ndarray, frame: int, n: int) -> np.ndarray:
    """Interpolate `(S, N)` frame values to `n` samples."""
    centres = (np.arange(values.shape[1]) + 0.5) * frame
    return np.stack([np.interp(np.arange(n), centres, row) for row in values]).astype(np.float32)
