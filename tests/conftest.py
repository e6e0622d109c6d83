"""Real encoded audio for the tests, made by PyAV on the spot, and the web page's server; `from conftest
import encode`.
"""

import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

# Models that whoever runs the tests has imported are none of theirs.
os.environ["UNMINGLE_MODELS"] = str(Path(tempfile.gettempdir()) / "no-models-of-the-user")
if "PYTEST_XDIST_WORKER" in os.environ:  # processes side by side, each with a thread of its own
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A `web_server.Server`, which wants the extra `web`."""
    from web_server import Limits, Server

    with Server(Limits(n_jobs=2)) as running:
        yield running


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's own folder of models, empty."""
    from unmingle.catalog import cards

    folder = tmp_path / "models"
    monkeypatch.setenv("UNMINGLE_MODELS", str(folder))
    cards.cache_clear()
    yield folder
    monkeypatch.undo()
    cards.cache_clear()


def sweep(duration_s: float, sample_rate: int, n_channels: int = 1) -> np.ndarray:
    """A sweep whose level wobbles, float32 `(channels, T)`: it matches itself at one lag only; each channel a
    little softer than the one before.
    """
    t = np.arange(round(duration_s * sample_rate)) / sample_rate
    samples = 0.3 * np.sin(2 * np.pi * (200 + 300 * t) * t) * (0.6 + 0.4 * np.sin(7 * t))
    return np.stack([samples * 0.9**channel for channel in range(n_channels)]).astype(np.float32)


def encode(
    path: Path,
    samples: np.ndarray,
    sample_rate: int,
    codec: str,
    *,
    container: str | None = None,
    video: bool = False,
    late_s: float = 0.0,
    without: tuple[float, float] = (0.0, 0.0),
    **options: str,
) -> Path:
    """Encode samples `(channels, T)` into a file, with a moving picture (25 per second) beside them if
    `video`; `options` are the container's. The sound's timestamps are moved by `late_s`, and its packets that
    lie between the two times `without` are left out.
    """

    def muxed(packets: list[Any]) -> None:
        for packet in packets:
            if packet.pts is not None and (late_s or without[1]):
                at_s = float(packet.pts * packet.time_base)
                packet.pts += round(late_s / packet.time_base)
                packet.dts += round(late_s / packet.time_base)
                if without[0] <= at_s < without[1]:
                    continue
            file.mux(packet)

    layout = {1: "mono", 2: "stereo", 6: "5.1"}.get(len(samples), f"{len(samples)} channels")
    with av.open(f"file:{path}", "w", format=container, options=options) as file:
        sound: Any = file.add_stream(codec, rate=sample_rate)
        sound.codec_context.layout = layout
        picture: Any = file.add_stream("mpeg4", rate=25) if video else None
        if video:
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        step = sample_rate // 25
        for i, start in enumerate(range(0, samples.shape[1], step)):
            interleaved = samples[:, start : start + step].T.reshape(1, -1).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
            muxed(sound.encode(frame))
            if video:
                image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), i % 255, np.uint8), format="rgb24")
                image.pts = i
                file.mux(picture.encode(image))
        muxed(sound.encode(None))
        if video:
            file.mux(picture.encode(None))
    return path


def encode_video_only(path: Path) -> Path:
    """Ten grey pictures without sound."""
    with av.open(f"file:{path}", "w") as file:
        picture: Any = file.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        for i in range(10):
            image = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * i, np.uint8), format="rgb24")
            image.pts = i
            file.mux(picture.encode(image))
        file.mux(picture.encode(None))
    return path
