"""Files to pictures: the moving picture of a recording at 25 per second, on the timeline of its sound."""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Self

import av
import numpy as np
from av.stream import Disposition

from unmingle.errors import InputError
from unmingle.media import sources
from unmingle.media.audio import MIN_GAP_S, PLAYS
from unmingle.media.containers import reason_of

RATE = 25  # pictures per second, whatever the file has
LARGEST = 1280  # longer side of a picture as it is given out; larger ones are scaled down [pixels]
MAX_GAP_S = 3600.0  # between pictures: more is an error of the timestamps
LONGEST_S = 60.0  # that a picture is shown by its rate: more is an error of that
SQUEEZES = (Fraction(1, 4), Fraction(4))  # shapes of a pixel that are believed


class VideoReader:
    """Pictures of a file, one after the other in constant memory; a context manager.

    Time 0 is sample 0 of the sound as `AudioReader` counts it. Picture k is the one that is shown in the
    middle of the 40 ms from k / 25 s on. It stands upright, whatever the file's rotation flag is, with square
    pixels.

    Attributes:
        name: what messages call it.
        width, height: of the picture as it is shown, upright [pixels].
        scale: size of the pictures that are given out, compared with that; 1 or less.
        start_s: when the picture begins [s]; before that there is none.
        zero_s: the file's timestamp at time 0 [s].
        codec: how the picture is encoded, by FFmpeg's name.
        duration_s: estimate of the recording's length [s]; None = unknown.
        file: what is read, or the copy of what cannot seek; can be opened again while this is open.

    Args:
        source: path, or binary file object, read from its beginning.
        largest: longer side of the pictures that are given out, at most [pixels].

    Raises:
        InputError: not a file with a moving picture that can be decoded.
    """

    def __init__(self, source: str | Path | BinaryIO, *, largest: int = LARGEST) -> None:
        with ExitStack() as stack:
            file, self.name = sources.open_source(source, stack)
            sound_s = first_sound_s(file)
            self.file = file
            self._container = stack.enter_context(open_container(file, self.name))
            self._stream = moving_picture(self._container, self.name)
            self._stream.thread_type = "AUTO"
            self.codec = self._stream.codec_context.name
            length_s = float(1 / (self._stream.average_rate or RATE))
            self._length_s = length_s if length_s <= LONGEST_S else 1 / RATE
            self._last_s = float("-inf")
            self._decoded = self._decode()
            try:
                self._first = next(self._decoded)
            except StopIteration:
                raise self._broken(self._damage or "it holds none") from None
            zero_s = self._first_s = self._last_s
            if sound_s is not None and sound_s - zero_s < MIN_GAP_S:
                zero_s = sound_s  # where sound begins later, silence stands in its place
            self.start_s, self.zero_s = self._first_s - zero_s, zero_s
            self._close = stack.pop_all().close
        self.duration_s = self._container.duration / av.time_base if self._container.duration else None
        self._turns, width = quarter_turns(self._first), self._first.width * squeeze(self._first)
        width, height = max(1, round(width)), self._first.height
        self.scale = min(1.0, largest / max(width, height))
        self._size = max(1, round(width * self.scale)), max(1, round(height * self.scale))
        self.width, self.height = (height, width) if self._turns % 2 else (width, height)

    def pictures(self) -> Iterator[np.ndarray | None]:
        """Pictures `(H, W, 3)`, RGB, uint8, 25 per second from time 0 on, until the last one ends; to be gone
        through once. None where the picture has not begun. One that is shown longer is the same object.
        """
        n, shown, shown_s = 0, None, self.start_s
        picture: np.ndarray | None = None
        for frame, begins_s in self._timed():
            while (n + 0.5) / RATE < begins_s:
                if shown is not None:
                    picture, shown = self._upright(shown), None
                yield picture
                n += 1
            shown, shown_s = frame, begins_s
        while (n + 0.5) / RATE < shown_s + self._length_s:
            if shown is not None:
                picture, shown = self._upright(shown), None
            yield picture
            n += 1

    def close(self) -> None:
        """Close the file, unless the caller opened it."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _broken(self, reason: str) -> InputError:
        return broken(self.name, reason)

    def _decode(self) -> Iterator[Any]:
        """Decoded frames in order, without what is damaged; `_last_s` is when the latest begins [s]."""
        self._damage = ""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                frames = packet.decode() if packet is not None else None
            except (av.FFmpegError, OSError, ValueError) as error:
                self._damage = reason_of(error)
                continue
            if frames is None:
                return
            for frame in frames:
                counted_s = self._last_s + self._length_s if self._last_s > float("-inf") else 0.0
                begins_s = counted_s if frame.time is None else frame.time
                if self._last_s > float("-inf") and not 0 <= begins_s - self._last_s <= MAX_GAP_S:
                    begins_s = counted_s
                self._last_s = begins_s
                yield frame

    def _timed(self) -> Iterator[tuple[Any, float]]:
        """Frames with when they begin on the recording's timeline [s]."""
        yield self._first, self.start_s
        for frame in self._decoded:
            yield frame, self._last_s - self.zero_s

    def _upright(self, frame: Any) -> np.ndarray:
        width, height = self._size
        try:
            rgb = frame.reformat(width, height, format="rgb24", interpolation="AREA", threads=1).to_ndarray()
        except (av.FFmpegError, ValueError) as error:
            raise self._broken(reason_of(error)) from None
        return np.ascontiguousarray(np.rot90(rgb, self._turns))


def open_container(file: BinaryIO, name: str) -> Any:
    """Open a video file from its beginning; InputError if it is none."""
    file.seek(0)
    try:
        return sources.open_container(file)
    except (av.FFmpegError, OSError, ValueError) as error:
        wrong = f"not a readable video file ({reason_of(error)})"
        raise InputError(f"{name}: {wrong}; {PLAYS}") from None


def moving_picture(container: Any, name: str) -> Any:
    """The stream of a file's moving picture, which a cover is not; InputError if there is none."""
    moving = [
        stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
    ]
    if not moving:
        remedy = f"choose a video, or separate it by ear: unmingle separate {name}"
        raise InputError(f"{name}: has no moving picture; {remedy}")
    if moving[0].codec_context is None:
        raise broken(name, "its codec is unknown")
    return moving[0]


def broken(name: str, reason: str) -> InputError:
    return InputError(f"{name}: its picture cannot be decoded ({reason}); {PLAYS}")


def first_sound_s(file: BinaryIO) -> float | None:
    """When the first samples of a file's first audio track begin [s]; None if there are none."""
    try:
        with open_container(file, "") as container:
            frame = next(container.decode(audio=0), None) if container.streams.audio else None
            return None if frame is None else frame.time
    except (av.FFmpegError, InputError, OSError, ValueError):
        return None


def quarter_turns(frame: Any) -> int:
    """How often a frame must be turned to the left by 90° to be upright, by its display matrix."""
    return round(frame.rotation / 90) % 4


def squeeze(frame: Any) -> Fraction:
    """Width of a pixel divided by its height; 1 where that is not to be believed."""
    shape = getattr(frame, "sample_aspect_ratio", None)
    return shape if shape and SQUEEZES[0] <= shape <= SQUEEZES[1] else Fraction(1)
