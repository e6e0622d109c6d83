"""The valid files that `fuzz.py` damages: all containers and codecs that PyAV writes and people have, half a
second each, made by formula.
"""

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import report

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from videos import drawn_face

SECONDS, FACE_S = 0.5, 1.4  # of a file; of one in which somebody is seen
BIT_RATES = {"libopencore_amrnb": 12_200, "wmav2": 64_000}  # of encoders that want one [bit/s]

PAGES = (("page_duration", "100000"),)  # of 0.1 s each


class Kind(NamedTuple):
    """A way in which a valid file is made.

    Attributes:
        name: of the file, whose suffix stands for its container in tables.
        format: FFmpeg's name of the container.
        sound: FFmpeg's name of the encoder; "" for none.
        rate: [Hz].
        n_channels: of the sound.
        picture: FFmpeg's name of the encoder; "" for none.
        options: of the container.
        sample_format: that the encoder gets; its first unless given.
    """

    name: str
    format: str
    sound: str
    rate: int = 16_000
    n_channels: int = 1
    picture: str = ""
    options: tuple[tuple[str, str], ...] = ()
    sample_format: str = ""


KINDS = (
    Kind("pcm16.wav", "wav", "pcm_s16le"),
    Kind("float8.wav", "wav", "pcm_f32le", 48_000, 8),
    Kind("pcm24.wav", "wav", "pcm_s24le", 96_000, 2),
    Kind("mulaw.wav", "wav", "pcm_mulaw", 8_000),
    Kind("adpcm.wav", "wav", "adpcm_ms", 22_050, 2),
    Kind("large.rf64", "wav", "pcm_s16le", 16_000, 1, "", (("rf64", "always"),)),
    Kind("pcm16.w64", "w64", "pcm_s16le", 16_000, 2),
    Kind("pcm16.aiff", "aiff", "pcm_s16be", 44_100, 2),
    Kind("pcm24.aiff", "aiff", "pcm_s24be", 48_000),
    Kind("pcm16.caf", "caf", "pcm_s16be", 44_100),
    Kind("alac.caf", "caf", "alac", 44_100, 2),
    Kind("mulaw.au", "au", "pcm_mulaw", 8_000),
    Kind("pcm16.au", "au", "pcm_s16be", 32_000, 2),
    Kind("mono.flac", "flac", "flac"),
    Kind("six.flac", "flac", "flac", 96_000, 6),
    Kind("vorbis.ogg", "ogg", "vorbis", 44_100, 2, "", PAGES),
    Kind("flac.ogg", "ogg", "flac", 24_000, 1, "", PAGES),
    Kind("mono.opus", "opus", "libopus", 48_000, 1, "", PAGES),
    Kind("stereo.opus", "opus", "libopus", 48_000, 2, "", PAGES),
    Kind("mono.mp3", "mp3", "libmp3lame", 16_000),
    Kind("stereo.mp3", "mp3", "libmp3lame", 44_100, 2, "", (("id3v2_version", "3"),)),
    Kind("aac.m4a", "ipod", "aac", 44_100),
    Kind("alac.m4a", "ipod", "alac", 48_000, 2),
    Kind("adts.aac", "adts", "aac", 44_100, 2),
    Kind("sound.ac3", "ac3", "ac3", 48_000, 6),
    Kind("sound.amr", "amr", "libopencore_amrnb", 8_000, 1, "", (), "s16"),
    Kind("sound.wv", "wv", "wavpack", 44_100, 2),
    Kind("sound.tta", "tta", "tta", 44_100),
    Kind("sound.wma", "asf", "wmav2", 44_100, 2),
    Kind("h264.mp4", "mp4", "aac", 44_100, 1, "libx264"),
    Kind("pieces.mp4", "mp4", "aac", 44_100, 2, "mpeg4", (("movflags", "frag_keyframe+empty_moov"),)),
    Kind("mpeg4.mov", "mov", "pcm_s16le", 48_000, 2, "mpeg4"),
    Kind("vorbis.mkv", "matroska", "vorbis", 44_100, 2, "libx264"),
    Kind("flac.mkv", "matroska", "flac", 48_000, 1, "mpeg4"),
    Kind("opus.webm", "webm", "libopus", 48_000, 1, "libvpx"),
    Kind("vp9.webm", "webm", "libopus", 48_000, 2, "libvpx-vp9"),
    Kind("mp3.avi", "avi", "libmp3lame", 44_100, 2, "mpeg4"),
    Kind("pcm.avi", "avi", "pcm_s16le", 16_000, 1, "mjpeg"),
    Kind("video.wmv", "asf", "wmav2", 44_100, 1, "wmv2"),
    Kind("video.flv", "flv", "aac", 44_100, 1, "flv"),
    Kind("amr.3gp", "3gp", "libopencore_amrnb", 8_000, 1, "h263", (), "s16"),
    Kind("aac.ts", "mpegts", "aac", 48_000, 2, "mpeg2video"),
    Kind("mp2.mpg", "mpeg", "mp2", 44_100, 2, "mpeg1video"),
    Kind("silent.mp4", "mp4", "", picture="libx264"),
    Kind("face.mp4", "mp4", "aac", 16_000, 1, "libx264"),
    Kind("face.mkv", "matroska", "flac", 16_000, 1, "mpeg4"),
)


def sound(seconds: float, rate: int, n_channels: int) -> np.ndarray:
    """The example's voices, a little later and softer in each further channel: float32 `(channels, T)`."""
    samples = report.talk(1.0 + seconds, rate)[rate:]  # it begins with silence
    return np.stack([0.9**k * np.roll(samples, 7 * k) for k in range(n_channels)]).astype(np.float32)


def picture(index: int, kind: Kind) -> np.ndarray:
    """A picture `(H, W, 3)` in which something moves, of a size that the codec has."""
    if kind.name.startswith("face"):
        return drawn_face(mouth=index % 4 / 4)
    height, width = (144, 176) if kind.picture == "h263" else (96, 128)
    y, x = np.mgrid[0:height, 0:width]
    moved = 120 + 100 * np.sin(0.1 * x + 0.3 * index) * np.cos(0.13 * y)
    return np.stack([moved, 255 - moved, (x + y) % 256], axis=2).clip(0, 255).astype(np.uint8)


def make(kind: Kind, folder: Path) -> Path:
    """Write the file of a kind."""
    path, seconds = folder / kind.name, FACE_S if kind.name.startswith("face") else SECONDS
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[kind.n_channels]
    options = {"fflags": "+bitexact", **dict(kind.options)}  # no number in it is drawn
    with av.open(f"file:{path}", "w", format=kind.format, options=options) as file:
        shown: Any = None
        heard: Any = None
        if kind.picture:
            shown = file.add_stream(kind.picture, rate=25)
            shown.height, shown.width = picture(0, kind).shape[:2]
            shown.pix_fmt = "yuvj420p" if kind.picture == "mjpeg" else "yuv420p"
            shown.thread_count = 1  # so that the file is the same each time
        if kind.sound:
            heard = file.add_stream(kind.sound, rate=kind.rate)
            heard.codec_context.layout = layout
            if kind.sample_format:
                heard.codec_context.format = kind.sample_format
            heard.codec_context.bit_rate = BIT_RATES.get(kind.sound, 0)
            if kind.sound == "vorbis":
                heard.codec_context.options = {"strict": "experimental"}
        samples = sound(seconds, kind.rate, kind.n_channels)
        step = -(-kind.rate // 25)
        for number in range(round(25 * seconds)):
            if shown:
                image = av.VideoFrame.from_ndarray(picture(number, kind), format="rgb24")
                image.pts, image.time_base = number, Fraction(1, 25)
                file.mux(shown.encode(image))
            if heard:
                part = samples[:, number * step : (number + 1) * step].T.reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="flt", layout=layout)
                frame.sample_rate, frame.pts = kind.rate, number * step
                frame.time_base = Fraction(1, kind.rate)
                file.mux(heard.encode(frame))
        for stream in filter(None, (shown, heard)):
            file.mux(stream.encode(None))
    return path
