"""Pictures to files."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_jpeg(path: Path, picture: np.ndarray) -> None:
    """Write a picture `(H, W, 3)`, RGB, uint8; OSError if it cannot be written."""
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuvj420p"
    context.qmin, context.qmax = 2, 4
    context.time_base = Fraction(1, 25)
    packets = [*context.encode(frame.reformat(format="yuvj420p")), *context.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
