"""Videos for the tests, made by PyAV on the spot: `from videos import film`."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

CLOCK = Fraction(1, 90_000)  # of the pictures' timestamps


def film(
    path: Path,
    pictures: Iterable[np.ndarray],
    times: Iterable[float],
    samples: np.ndarray | None,
    sample_rate: int = 16_000,
    *,
    codec: str = "libx264",
    sound_at_s: float = 0.0,
) -> Path:
    """Encode pictures `(H, W, 3)` that begin at `times` [s], and samples `(C, T)` that begin at
    `sound_at_s`.
    """
    with av.open(f"file:{path}", "w") as file:
        picture: Any = None
        sound: Any = None
        for image, time in zip(pictures, times, strict=False):
            if picture is None:
                picture = file.add_stream(codec, rate=25)
                picture.height, picture.width = image.shape[:2]
                picture.pix_fmt, picture.time_base = "yuv420p", CLOCK
                picture.codec_context.time_base = CLOCK
                picture.bit_rate = 2_000_000
                if samples is not None:
                    kind = "libopus" if path.suffix == ".webm" else "aac"
                    sound = file.add_stream(kind, rate=sample_rate)
                    sound.codec_context.layout = "mono" if len(samples) == 1 else "stereo"
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time / CLOCK), CLOCK
            file.mux(picture.encode(frame))
        file.mux(picture.encode(None))
        if samples is not None:
            for start in range(0, samples.shape[1], 1024):
                part = np.ascontiguousarray(samples[:, start : start + 1024], np.float32)
                block = av.AudioFrame.from_ndarray(part, "fltp", sound.codec_context.layout.name)
                block.sample_rate, block.time_base = sample_rate, Fraction(1, sample_rate)
                block.pts = start + round(sound_at_s * sample_rate)
                file.mux(sound.encode(block))
            file.mux(sound.encode(None))
    return path


def numbered(n: int, height: int = 64, width: int = 64) -> Iterable[np.ndarray]:
    """Pictures whose brightness tells their number, modulo 50; see `number`."""
    for k in range(n):
        yield np.full((height, width, 3), 20 + 4 * (k % 50), np.uint8)


def number(picture: np.ndarray) -> int:
    """Which of `numbered` a decoded picture is."""
    return round((float(picture.mean()) - 20) / 4)


def turned(path: Path) -> Path:
    """Set an MP4's rotation flag, so that its picture is shown turned to the right by 90°."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd") + 4 + 40
    for place, value in enumerate((0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)):
        data[header + 4 * place : header + 4 * place + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path
