"""A passage of a video, cut out to the sample and written anew."""

import errno
import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from av.stream import Disposition
from av.video.frame import PictureType

from unmingle.errors import InputError
from unmingle.media.audio import PLAYS, open_audio
from unmingle.media.containers import reason_of

BLOCK = 4096  # samples that are encoded at once
TICKS = 90_000  # per second, of the times of pictures


def cut_sound(source: Path, target: Path, start_s: float, end_s: float) -> None:
    """Write the sound of a passage as 16-bit mono FLAC at its own sample rate.

    Raises:
        InputError: as `open_audio`; also where the passage begins after the end.
    """
    samples, sample_rate = _sound(source, start_s, end_s)
    memory = io.BytesIO()
    soundfile.write(memory, samples, sample_rate, "PCM_16", format="FLAC")
    target.write_bytes(memory.getvalue())


def cut_video(picture: Path, sound: Path, target: Path, start_s: float, end_s: float) -> None:
    """Write a passage as MP4: H.264, and 16-bit mono FLAC, which loses nothing and has no delay.

    The first picture is the one that is seen at `start_s`; every other one keeps its time.

    Args:
        picture, sound: the files that hold them, which may be one.

    Raises:
        InputError: no picture or no sound that can be decoded, or none in the passage.
    """
    samples, sample_rate = _sound(sound, start_s, end_s)
    try:
        with av.open(
            f"file:{picture}", metadata_errors="ignore", options={"protocol_whitelist": "file"}
        ) as file:
            moving = [s for s in file.streams.video if not s.disposition & Disposition.attached_pic]
            if not moving:
                raise InputError(f"{picture}: has no moving picture; choose --audio-only")
            zero_s = _begins_s(file, moving[0], picture == sound)
            frames = _frames(file, moving[0], zero_s + start_s, zero_s + end_s)
            first = next(frames, None)
            if first is None:
                raise InputError(f"{picture}: no picture in the passage; choose --audio-only")
            rate = moving[0].average_rate or 25
            _encode(chain([first], frames), first[1], rate, samples, sample_rate, target)
    except (av.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{picture}: its picture cannot be decoded ({reason_of(error)}); {PLAYS}") from None


def _sound(source: Path, start_s: float, end_s: float) -> tuple[np.ndarray, int]:
    """Mono samples of a passage, 16-bit `(T,)`, and their rate [Hz]."""
    with open_audio(source, start_s=start_s, end_s=end_s) as audio:
        mono = np.concatenate([block.mean(axis=0) for block in audio.blocks(2**20)])
        return (mono.clip(-1, 1) * 32767).round().astype(np.int16), audio.sample_rate


def _begins_s(file: Any, picture: Any, with_sound: bool) -> float:
    """What the file's timestamps say where its timeline begins, which for `open_audio` is the first picture
    or the first sound, whichever is earlier [s].
    """
    begins_s = float((picture.start_time or 0) * picture.time_base)
    if with_sound:
        first = next(file.decode(file.streams.audio[0]), None)
        if first is not None and first.time is not None:
            begins_s = min(begins_s, first.time)
    return begins_s


def _frames(file: Any, stream: Any, start_s: float, end_s: float) -> Iterator[tuple[float, Any]]:
    """The pictures between two timestamps, and when each is seen after the first of the two [s]."""
    file.seek(max(0, round(start_s / stream.time_base)), stream=stream)
    shown = None
    for frame in file.decode(stream):
        if frame.time is None:
            continue
        if frame.time >= end_s:
            break
        if frame.time <= start_s:
            shown = frame
            continue
        if shown is not None:
            yield 0.0, shown
            shown = None
        yield frame.time - start_s, frame
    if shown is not None:
        yield 0.0, shown


def _encode(
    frames: Iterable[tuple[float, Any]],
    first: Any,
    rate: Fraction | int,
    samples: np.ndarray,
    sample_rate: int,
    target: Path,
) -> None:
    with av.open(f"file:{target}", "w", format="mp4") as out:
        sound: Any = out.add_stream("flac", rate=sample_rate)
        sound.codec_context.layout, sound.codec_context.format = "mono", "s16"
        picture: Any = out.add_stream("libx264", rate=rate, options={"crf": "18"})
        picture.width, picture.height = first.width // 2 * 2, first.height // 2 * 2
        picture.pix_fmt, picture.codec_context.time_base = "yuv420p", Fraction(1, TICKS)
        for at_s, frame in frames:
            image = frame.reformat(picture.width, picture.height, "yuv420p")
            image.pts, image.time_base = round(at_s * TICKS), Fraction(1, TICKS)
            image.pict_type = PictureType.NONE  # not as in the source: the encoder chooses
            out.mux(picture.encode(image))
        out.mux(picture.encode(None))
        for start in range(0, len(samples), BLOCK):
            block = av.AudioFrame.from_ndarray(
                samples[None, start : start + BLOCK], format="s16", layout="mono"
            )
            block.sample_rate, block.pts, block.time_base = sample_rate, start, Fraction(1, sample_rate)
            out.mux(sound.encode(block))
        out.mux(sound.encode(None))
