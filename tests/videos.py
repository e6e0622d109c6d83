"""Videos for the tests, made by PyAV on the spot: `from videos import film`."""

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
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
    clock = CLOCK if codec.startswith("lib") else Fraction(1, 25)  # what MPEG's codecs hold
    with av.open(f"file:{path}", "w") as file:
        picture: Any = None
        sound: Any = None
        for image, time in zip(pictures, times, strict=False):
            if picture is None:
                picture = file.add_stream(codec, rate=25)
                picture.height, picture.width = image.shape[:2]
                picture.pix_fmt, picture.time_base = "yuv420p", clock
                picture.codec_context.time_base = clock
                picture.bit_rate = 2_000_000
                if samples is not None:
                    kind = {".webm": "libopus", ".mpg": "mp2"}.get(path.suffix, "aac")
                    sound = file.add_stream(kind, rate=sample_rate)
                    sound.codec_context.layout = "mono" if len(samples) == 1 else "stereo"
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time / clock), clock
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


@lru_cache
def drawn_face(
    mouth: float = 0.0,
    *,
    height: int = 180,
    width: int = 180,
    at: tuple[float, float] = (0.5, 0.5),
    skin: tuple[int, int, int] = (205, 160, 130),
    hair: tuple[int, int, int] = (50, 35, 25),
    shirt: tuple[int, int, int] = (60, 60, 90),
) -> np.ndarray:
    """A drawing of a face that BlazeFace takes for one, `(H, W, 3)`; `mouth` from 0, closed, to 1, open."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    side = 0.31 * min(height, width)
    x, y = (x - at[0] * width) / side, (y - at[1] * height) / side
    image = np.ones((height, width, 3)) * (90, 110, 130)

    def paint(right: float, down: float, wide: float, high: float, colour: object, soft: float = 0.1) -> None:
        nonlocal image
        radius = np.hypot((x - right) / wide, (y - down) / high)
        share = 1 / (1 + np.exp(((radius - 1) / soft).clip(-50, 50)))[..., None]
        image = image * (1 - share) + np.array(colour) * share

    dark = np.array(skin) * 0.75
    paint(0, 1.9, 1.5, 0.9, shirt, 0.06)
    paint(0, 1.1, 0.38, 0.5, dark, 0.06)
    paint(0, -0.25, 0.95, 1.1, hair, 0.06)
    paint(0, 0.05, 0.76, 1.0, skin, 0.06)
    for eye in (-0.32, 0.32):
        paint(eye, -0.12, 0.2, 0.12, dark)
        paint(eye, -0.1, 0.14, 0.065, (235, 235, 230))
        paint(eye, -0.1, 0.065, 0.065, (40, 30, 20))
        paint(eye, -0.3, 0.2, 0.035, hair, 0.3)
        paint(eye * 0.22, 0.35, 0.045, 0.03, dark * 0.7, 0.3)
    paint(0, 0.62, 0.28, 0.07 + 0.1 * mouth, (165, 80, 80))
    paint(0, 0.62, 0.2, 0.005 + 0.1 * mouth, (50, 15, 15))
    return image.clip(0, 255).astype(np.uint8)
