"""Videos with another sound: the picture's packets as they are."""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from unmingle.errors import InputError
from unmingle.media.audio import open_audio
from unmingle.media.containers import reason_of
from unmingle.media.video import RATE, VideoReader, moving_picture, open_container
from unmingle.media.writer import FORMATS, MP3_RATES

IN_MP4 = {"h264", "hevc", "mpeg4", "av1", "vp9", "mpeg2video"}  # pictures that players expect there


def video_suffix(reader: VideoReader) -> str:
    """Of a file that holds this picture: "mp4", or "mkv" for what is seldom in an MP4."""
    return "mp4" if reader.codec in IN_MP4 else "mkv"


def write_video(reader: VideoReader, sound: Path, path: Path) -> None:
    """Write a copy of a video, its picture not encoded again, with another sound: the first channel of an
    audio file, on the timeline of `reader`.

    Args:
        reader: of the video; its pictures cannot be read afterwards.
        sound: audio file.
        path: file to create, whose suffix is that of `video_suffix`.

    Raises:
        InputError: its packets do not fit that container.
        OSError: it cannot be written; `filename` is the path.
    """
    in_mp4 = path.suffix == ".mp4"
    with ExitStack() as stack:
        source = stack.enter_context(open_container(reader.file, reader.name))
        samples = stack.enter_context(open_audio(sound))
        try:
            options = {"movflags": "+faststart"} if in_mp4 else {}
            kind = "mp4" if in_mp4 else "matroska"
            result: Any = stack.enter_context(av.open(f"file:{path}", "w", format=kind, options=options))
            picture = moving_picture(source, reader.name)
            copied = result.add_stream_from_template(picture)
            packets = shifted(source, picture, copied, reader.zero_s)
            packet = next(packets, None)
            for end_s, audio in encoded(result, in_mp4, samples):
                while packet is not None and packet.dts * packet.time_base < end_s:
                    result.mux(packet)
                    packet = next(packets, None)
                result.mux(audio)
            while packet is not None:
                result.mux(packet)
                packet = next(packets, None)
        except (av.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, OSError) and not isinstance(error, av.InvalidDataError):
                raise OSError(error.errno, error.strerror, str(path)) from None
            wrong = f"its picture cannot be copied ({reason_of(error)})"
            raise InputError(f"{reader.name}: {wrong}; leave --video out") from None


def shifted(source: Any, picture: Any, copied: Any, zero_s: float) -> Iterator[Any]:
    """The picture's packets, on the timeline whose zero is at `zero_s` [s]. Those without a time of decoding
    get one: before the first that has one, and after others, a picture's length apart.
    """
    shift = round(zero_s / picture.time_base)
    length = max(1, round(1 / ((picture.average_rate or RATE) * picture.time_base)))
    before: int | None = None
    waiting: list[Any] = []
    for packet in source.demux(picture):
        if not packet.size:
            continue
        waiting.append(packet)
        if before is None and packet.dts is None:
            continue
        for index, each in enumerate(waiting):
            if each.dts is None and before is None:
                each.dts = packet.dts - (len(waiting) - 1 - index) * length
            decoded = before + length if each.dts is None else each.dts - shift
            decoded = decoded if before is None else max(decoded, before + 1)
            shown = decoded if each.pts is None else each.pts - shift
            if shown >= decoded:  # what damage has put out of order cannot be written
                before = each.dts = decoded
                each.pts = shown
                each.stream = copied
                yield each
        waiting = []


def encoded(result: Any, in_mp4: bool, samples: Any) -> Iterator[tuple[float, list[Any]]]:
    """Packets of an audio file's first channel, a second at a time, and where each ends [s]."""
    format = FORMATS["m4a" if in_mp4 else "flac"]
    allowed = MP3_RATES if in_mp4 else (samples.sample_rate,)
    rate = min(allowed, key=lambda each: (each < samples.sample_rate, abs(each - samples.sample_rate)))
    stream = result.add_stream(format.codec, rate=rate)
    context = stream.codec_context
    context.layout, context.format = "mono", format.samples
    if format.bit_rate:
        context.bit_rate = 2 * format.bit_rate
    resampler, n = av.AudioResampler(format.samples, "mono", rate), 0
    for block in samples.blocks(samples.sample_rate):
        frame = av.AudioFrame.from_ndarray(block[:1].clip(-1, 1).copy(), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = (
            samples.sample_rate,
            n,
            Fraction(1, samples.sample_rate),
        )
        n += block.shape[1]
        packets = [packet for each in resampler.resample(frame) for packet in stream.encode(each)]
        yield n / samples.sample_rate, packets
    rest = [packet for each in resampler.resample(None) for packet in stream.encode(each)]
    yield n / samples.sample_rate, [*rest, *stream.encode(None)]
