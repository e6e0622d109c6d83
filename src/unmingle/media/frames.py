"""Decoded frames as arrays."""

from typing import Any

import av
import numpy as np


def to_float(frame: Any) -> np.ndarray:
    """Float32 `(channels, n)`; full scale of an integer format is 1."""
    if frame.format.is_planar and frame.layout.nb_channels > 8:
        # PyAV reads such frames beyond their end, unless they are interleaved first.
        frame = av.AudioResampler(format=frame.format.packed).resample(frame)[0]
    samples = frame.to_ndarray()
    samples = samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
    with np.errstate(over="ignore", invalid="ignore"):
        # A double beyond float32 becomes infinite, and is refused as such.
        floats = samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return floats / 128 - 1
    return (
        floats if samples.dtype.kind == "f" else floats * np.float32(2.0 ** (1 - 8 * samples.dtype.itemsize))
    )
