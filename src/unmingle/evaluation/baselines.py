"""Baselines: what other packages do about noise around one voice, in the same table. They come with
`unmingle[peers]`.
"""

import ctypes
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import soxr

from unmingle.errors import UsageError

Baseline = Callable[
    [np.ndarray, int], np.ndarray
]  # a mixture (T,) and its sample rate [Hz] to the voice (T,)

RNNOISE_DELAY = (
    960  # its windows of 20 ms and the frame that it looks ahead [samples at 48 kHz]; a test measures it
)


def noisereduce(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Spectral gating of `(T,)` at `sample_rate` [Hz] with the package's own settings (a threshold that
    follows the noise).

    References:
        T. Sainburg and A. Zorea, "Noisereduce: domain general noise reduction for time series signals", 2024;
        computed by noisereduce.
    """
    from noisereduce import reduce_noise

    with np.errstate(invalid="ignore"):  # it divides silence by silence
        return np.nan_to_num(reduce_noise(samples, sample_rate)).astype(np.float32)


def rnnoise(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """RNNoise on `(T,)` at `sample_rate` [Hz]; it runs at 48 kHz, and what comes out is as long as what went
    in and aligned to the sample.

    References:
        J.-M. Valin, "A hybrid DSP/deep learning approach to real-time full-band speech enhancement", 2018;
        computed by pyrnnoise.
    """
    from pyrnnoise.rnnoise import FRAME_SIZE, SAMPLE_RATE, create, destroy, lib

    # It expects the range of 16-bit samples, though as floats.
    inside = soxr.resample(samples, sample_rate, SAMPLE_RATE) * 32768
    padded = np.pad(inside, (0, RNNOISE_DELAY + -(len(inside) + RNNOISE_DELAY) % FRAME_SIZE)).astype(
        np.float32
    )
    state = create()
    for frame in padded.reshape(-1, FRAME_SIZE):
        pointer = frame.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        # In place; the package's own wrapper would round to 16 bits.
        lib.rnnoise_process_frame(state, pointer, pointer)
    destroy(state)
    out = soxr.resample(padded[RNNOISE_DELAY:] / 32768, SAMPLE_RATE, sample_rate)
    return np.pad(out, (0, max(0, len(samples) - len(out))))[: len(samples)]


#: by the names that `evaluate` and `compare` take: what runs, and the package that it needs
BASELINES: dict[str, tuple[Baseline, str]] = {
    "noisereduce": (noisereduce, "noisereduce"),
    "rnnoise": (rnnoise, "pyrnnoise"),
}


def baseline(name: str) -> Baseline:
    """The baseline of that name; UsageError if its package is not installed."""
    run, package = BASELINES[name]
    if not find_spec(package):
        raise UsageError(f"{name} needs the package {package}: pip install 'unmingle[peers]'")
    return run
