"""Files to samples and back; the only module that knows codecs.

Reading: whatever FFmpeg's libraries read, through PyAV, a block at a time. Encoder delay and padding are left
    out, so sample 0 is sample 0 of the
recording. Writing: WAV, FLAC, MP3, M4A and Opus.
"""

import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self, cast

import av
import numpy as np
import soxr

from unmingle.errors import InputError, UsageError
from unmingle.facts import SAMPLE_RATES
from unmingle.media.containers import (
    count_mp3_frames,
    declare_mp3_length,
    is_cut_short,
    lacks_last_page,
    mp3_frame_size,
)
from unmingle.media.recording import what_is_in

NO_ADDRESSES = "an address, not a file; download it first, and give the file"
PLAYS = "check that it plays, or convert it to WAV"


class Format(NamedTuple):
    """How a file of one format is written.

    Attributes:
        container: FFmpeg's name of the container.
        codec: FFmpeg's name of the encoder.
        samples: sample format that the encoder takes.
        rates: sample rates that it takes [Hz]; empty = any.
        bit_rate: per channel [bit/s]; 0 = lossless.
        options: for the container.
    """

    container: str
    codec: str
    samples: str
    rates: tuple[int, ...] = ()
    bit_rate: int = 0
    options: tuple[tuple[str, str], ...] = ()


MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
FORMATS = {
    "wav": Format("wav", "pcm_f32le", "flt", options=(("rf64", "auto"),)),
    "flac": Format("flac", "flac", "s32"),
    "mp3": Format("mp3", "libmp3lame", "fltp", MP3_RATES, 128_000),
    "m4a": Format("ipod", "aac", "fltp", (*MP3_RATES, 64_000, 88_200, 96_000), 96_000),
    "opus": Format("opus", "libopus", "flt", (8_000, 12_000, 16_000, 24_000, 48_000), 64_000),
}


def open_audio(
    source: str | Path | BinaryIO, *, start_s: float | None = None, end_s: float | None = None
) -> "AudioReader":
    """Open the first audio track of a file, or of a binary file object, which may be a pipe; see
    `AudioReader`.
    """
    return AudioReader(source, start_s=start_s, end_s=end_s)


class AudioReader:
    """Samples of one audio track, block by block in constant memory; a context manager.

    Attributes:
        name: what messages call it.
        sample_rate: [Hz].
        n_channels: as stored; nothing is downmixed here.
        n_samples: estimate of how many samples per channel will be read; None = unknown.
        warnings: what is doubtful about the file; complete once all blocks are read.
        file: what is read, or the copy of what cannot seek; can be opened again while this is open.

    Args:
        source: path, or binary file object, read from its beginning; one that cannot seek is first copied to
            a temporary file.
        start_s: where the passage begins, to the sample [s].
        end_s: where it ends [s]; the file's end if that is earlier.

    Raises:
        InputError: not a file whose audio can be decoded, no samples, none after `start_s`, sample rate out
            of range, cut short. While reading: damaged, cut short, NaN or infinite samples.
        UsageError: `start_s` negative, or `end_s` not after it.
    """

    def __init__(
        self, source: str | Path | BinaryIO, *, start_s: float | None = None, end_s: float | None = None
    ) -> None:
        self._start_s, self._end_s = start_s or 0.0, float("inf") if end_s is None else end_s
        if not 0 <= self._start_s < float("inf"):
            raise UsageError(f"the passage starts at {start_s} s; choose a start of 0 s or later")
        if not self._end_s > self._start_s:
            raise UsageError(
                f"the passage ends at {end_s} s, not after its start at {self._start_s} s; choose a later end"
            )
        self.sample_rate = self.n_channels = self._n_decoded = 0
        self.warnings: list[str] = []
        with ExitStack() as stack:
            file, self.name = _open_file(source, stack)
            self._cut = is_cut_short(file)
            if self._cut and end_s is None:
                raise self._cut_short_error()
            if lacks_last_page(file):
                self.warnings.append(
                    "the file stops in mid-stream and was probably cut short; what is there is read"
                )
            self._mp3_frames = count_mp3_frames(file)
            file.seek(0)
            self.file = file
            self._container = self._open_container(file, stack)
            self._stream = self._container.streams.audio[0]
            self._blocks = self._cut_passage(self._drop_padding(self._decode()))
            first = next(self._blocks, None)
            if first is None and self._n_decoded:
                raise InputError(
                    f"{self.name}: ends at {self._seconds():.2f} s, before the passage begins; choose an earlier start"
                )
            if first is None:
                raise InputError(f"{self.name}: holds no audio samples; record or export it again")
            self._held = [first]
            self._close = stack.pop_all().close
        whole_s = self._declared_s() or (self._container.duration or 0) / av.time_base
        wanted_s = min(whole_s or float("inf"), self._end_s) - self._start_s
        self.n_samples = max(0, round(wanted_s * self.sample_rate)) if wanted_s < float("inf") else None

    def blocks(self, n: int) -> Iterator[np.ndarray]:
        """Blocks of `n` samples, float32 `(channels, n)`, the last one shorter; to be gone through once."""
        n_held = sum(block.shape[1] for block in self._held)
        while True:
            if n_held < n and (block := next(self._blocks, None)) is not None:
                self._held.append(block)
                n_held += block.shape[1]
            elif n_held:
                joined = np.concatenate(self._held, axis=1)
                self._held, n_held = [joined[:, n:]], max(0, n_held - n)
                yield joined[:, :n]
            else:
                return

    def close(self) -> None:
        """Close the file, unless the caller opened it."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _seconds(self) -> float:
        return self._n_decoded / (self.sample_rate or 1)

    def _declared_s(self) -> float:
        """The track's duration by its header, or FFmpeg's guess [s]; 0 = unknown."""
        return float((self._stream.duration or 0) * (self._stream.time_base or 0))

    def _cut_short_error(self) -> InputError:
        held = f" ({self._seconds():.2f} s)" if self._n_decoded else ""
        remedy = "get the whole file, or choose an end before the cut"
        return InputError(
            f"{self.name}: cut short or damaged, it declares more than there is{held}; {remedy}"
        )

    def _open_container(self, file: BinaryIO, stack: ExitStack) -> Any:
        no_other_files = {
            "protocol_whitelist": ""
        }  # a playlist must not make us open other files or addresses
        try:
            container = stack.enter_context(av.open(file, metadata_errors="ignore", options=no_other_files))
        except (av.FFmpegError, OSError, ValueError) as error:
            if self._cut:
                raise self._cut_short_error() from None
            raise InputError(
                f"{self.name}: not a readable audio or video file ({_reason(error)}); {PLAYS}"
            ) from None
        if not container.streams.audio:
            raise InputError(f"{self.name}: has no audio track; choose a file with sound")
        if container.streams.audio[0].codec_context is None:
            raise InputError(f"{self.name}: its audio codec is unknown; convert it to WAV")
        return container

    def _frames(self) -> Iterator[Any]:
        """Decoded frames in order. Damage with sound on both sides is an error, damage at the end a warning."""
        damage = ""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                frames = packet.decode() if packet is not None else None
            except (av.FFmpegError, OSError, ValueError) as error:
                damage = _reason(error)
                continue
            if frames is None:
                break
            if frames and damage and self._n_decoded:
                raise InputError(
                    f"{self.name}: damaged at {self._seconds():.2f} s ({damage}); get it again, or choose an end before that"
                )
            yield from frames
        if damage and not self._n_decoded:
            raise InputError(f"{self.name}: its audio cannot be decoded ({damage}); {PLAYS}")
        if damage:
            self.warnings.append(
                f"damaged after {self._seconds():.2f} s ({damage}); what comes before is read"
            )

    def _decode(self) -> Iterator[np.ndarray]:
        """Frames as float32 `(channels, n)`; at the end also whether all that the container declares was
        there.
        """
        for frame in self._frames():
            facts = frame.sample_rate, frame.layout.nb_channels
            if (
                not self._n_decoded
            ):  # the first frame decides: the headers of some codecs tell half the sample rate
                self.sample_rate, self.n_channels = facts
                if not SAMPLE_RATES[0] <= self.sample_rate <= SAMPLE_RATES[1]:
                    raise InputError(
                        f"{self.name}: its sample rate is {self.sample_rate} Hz; resample it to 8 to 192 kHz"
                    )
            if facts != (self.sample_rate, self.n_channels):
                raise InputError(
                    f"{self.name}: changes its sample rate or channels at {self._seconds():.2f} s; convert it to WAV"
                )
            block = _to_float(frame)
            self._n_decoded += block.shape[1]
            yield block
        kind, declared = self._container.format.name, 0
        if kind == "mp3":
            declared = (self._mp3_frames - 4) * mp3_frame_size(
                self.sample_rate
            )  # the encoder's delay and padding are counted but not decoded
        elif kind in ("flac", "aiff"):
            declared = round(self._declared_s() * self.sample_rate)
        if self._cut or self._n_decoded < declared:
            raise self._cut_short_error()

    def _drop_padding(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Drop what an MP4's last frame has beyond the track's declared length; in other containers FFmpeg
        itself does so.
        """
        is_mp4, position, padding = "mp4" in self._container.format.name.split(","), 0, None
        for block in blocks:
            if padding is not None:  # it was not the last frame, so the declared length is wrong
                yield padding
            n_wanted = round(self._declared_s() * self.sample_rate) - position if is_mp4 else 0
            position += block.shape[1]
            block, padding = (
                (block[:, :n_wanted], block[:, n_wanted:]) if 0 < n_wanted < block.shape[1] else (block, None)
            )
            yield block

    def _cut_passage(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """What lies between `start_s` and `end_s`, to the sample, checked to be finite."""
        position = 0
        for block in blocks:
            start, stop = (
                round(min(second, 1e9) * self.sample_rate) for second in (self._start_s, self._end_s)
            )
            wanted = block[:, max(0, start - position) : max(0, max(stop, start + 1) - position)]
            finite = np.isfinite(wanted).all(axis=0)
            if not finite.all():
                at_s = (max(start, position) + int(np.argmin(finite))) / self.sample_rate
                raise InputError(
                    f"{self.name}: holds NaN or infinite samples at {at_s:.3f} s; export it again from its source"
                )
            position += block.shape[1]
            if wanted.shape[1]:
                yield wanted
            if position >= stop:
                return
        if self._end_s < float("inf") and position:
            self.warnings.append(
                f"the file ends at {position / self.sample_rate:.2f} s, before the end of the passage"
            )


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _open_file(source: str | Path | BinaryIO, stack: ExitStack) -> tuple[BinaryIO, str]:
    """A file that can seek, closed by `stack` unless it is the caller's, and its name for messages."""
    if isinstance(source, str | Path):
        path, name = Path(source), str(source)
        try:
            if path.is_dir():
                raise InputError(f"{name}: a folder {what_is_in(path)}")
            if not (stat.S_ISREG(mode := path.stat().st_mode) or stat.S_ISFIFO(mode)):
                raise InputError(f"{name}: a device, not a file; choose an audio file")
            file: BinaryIO = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            raise InputError(
                f"{name}: {NO_ADDRESSES if re.match('[a-z]{2,}:/', name) else 'no such file; check the path'}"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{name}: cannot be opened ({_reason(error)}); check its name and permissions"
            ) from None
    else:
        file, name = source, str(getattr(source, "name", "file object"))
    try:
        if not file.seekable() or not isinstance(
            getattr(file, "name", ""), str
        ):  # FFmpeg wants a name that is text
            spool = cast(BinaryIO, stack.enter_context(tempfile.NamedTemporaryFile(prefix="unmingle-")))  # noqa: SIM115
            shutil.copyfileobj(file, spool, 2**20)
            file = spool
        size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise InputError(
            f"{name}: cannot be copied to a temporary file ({_reason(error)}); save it as a file and give that file's name"
        ) from None
    if not size:
        raise InputError(f"{name}: empty (0 bytes); choose a file with sound")
    return file, name


def _to_float(frame: Any) -> np.ndarray:
    """Float32 `(channels, n)`; full scale of an integer format is 1."""
    if (
        frame.format.is_planar and frame.layout.nb_channels > 8
    ):  # PyAV reads such frames beyond their end, unless they are interleaved first
        frame = av.AudioResampler(format=frame.format.packed).resample(frame)[0]
    samples = frame.to_ndarray()
    samples = samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # a double beyond float32 becomes infinite, and is refused as such
        floats = samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return floats / 128 - 1
    return (
        floats if samples.dtype.kind == "f" else floats * np.float32(2.0 ** (1 - 8 * samples.dtype.itemsize))
    )


class AudioWriter:
    """Encodes blocks of samples into a file; a context manager.

    WAV holds 32-bit floats (and is RF64 beyond 4 GB), FLAC 24-bit integers. Nothing is scaled; what exceeds
    full scale is kept in WAV and limited to full scale in FLAC. Where a format lacks the sample rate, the
    nearest that keeps the whole band is used, else the highest.

    Attributes:
        path: the file.
        sample_rate: the rate that is written [Hz].

    Args:
        path: file to create.
        sample_rate: of the samples given to `write` [Hz].
        n_channels: of the samples given to `write`.
        format: a key of `FORMATS`.

    Raises:
        InputError: the format does not hold this rate or number of channels.
        OSError: it cannot be written; `filename` is the path, and `output.OutputFolder` makes a message of
            it.
        UsageError: unknown format.
    """

    def __init__(
        self, path: str | Path, *, sample_rate: int, n_channels: int = 1, format: str = "wav"
    ) -> None:
        if format not in FORMATS:
            raise UsageError(f"unknown format {format!r}; choose one of {', '.join(FORMATS)}")
        self.path, self._name, self._format = Path(path), format, FORMATS[format]
        rates = self._format.rates or (sample_rate,)
        self.sample_rate = min(rates, key=lambda rate: (rate < sample_rate, abs(rate - sample_rate)))
        self._resampler = (
            None
            if self.sample_rate == sample_rate
            else soxr.ResampleStream(sample_rate, self.sample_rate, n_channels, dtype="float32")
        )
        self._ratio, self._n_channels, self._n_written, self._n_encoded = (
            Fraction(self.sample_rate, sample_rate),
            n_channels,
            0,
            0,
        )
        self._layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(n_channels, f"{n_channels} channels")
        self._container: Any = None
        options = dict(self._format.options)
        if format == "m4a":
            options["movie_timescale"] = str(self.sample_rate)  # so that the length is declared to the sample
        with self._errors():
            # "file:", because what precedes a colon in the name would be taken for a protocol
            self._container = av.open(
                f"file:{self.path}", "w", format=self._format.container, options=options
            )
            self._stream: Any = self._container.add_stream(self._format.codec, rate=self.sample_rate)
            context = self._stream.codec_context
            context.layout, context.format = self._layout, self._format.samples
            if self._format.bit_rate:
                context.bit_rate = self._format.bit_rate * n_channels
            self._container.start_encoding()

    def write(self, samples: np.ndarray) -> None:
        """Append samples, float32 `(channels, n)`."""
        if samples.shape[0] != self._n_channels:
            raise ValueError(f"{samples.shape[0]} channels given to a file of {self._n_channels}")
        self._n_written += samples.shape[1]
        self._encode(
            samples
            if self._resampler is None
            else self._resampler.resample_chunk(np.ascontiguousarray(samples.T, np.float32)).T
        )

    def close(self) -> None:
        """Finish the file."""
        if self._container is None:
            return
        if self._resampler is not None:
            rest = self._resampler.resample_chunk(np.zeros((0, self._n_channels), np.float32), last=True).T
            n_missing = math.ceil(self._n_written * self._ratio) - self._n_encoded
            self._encode(np.pad(rest, ((0, 0), (0, max(0, n_missing - rest.shape[1]))))[:, :n_missing])
        with self._errors():
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None
            if self._name == "mp3" and self._n_encoded > mp3_frame_size(self.sample_rate):
                declare_mp3_length(self.path, self._n_encoded, self.sample_rate)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()

    def _encode(self, samples: np.ndarray) -> None:
        if not samples.shape[1]:
            return
        if self._format.samples == "s32":  # 24 bits, in the upper part of 32
            samples = np.clip(np.rint(samples * 2.0**23), -(2**23), 2**23 - 1).astype(np.int32) << 8
        else:
            samples = samples.astype(np.float32, copy=False)
        samples = samples if self._format.samples.endswith("p") else samples.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples), format=self._format.samples, layout=self._layout
        )
        frame.sample_rate, frame.time_base, frame.pts = (
            self.sample_rate,
            Fraction(1, self.sample_rate),
            self._n_encoded,
        )
        self._n_encoded += frame.samples
        with self._errors():
            self._container.mux(self._stream.encode(frame))

    def _abandon(self) -> None:
        with suppress(av.FFmpegError, OSError, ValueError):
            if self._container is not None:
                self._container.close()
        self._container = None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            self._abandon()
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self.path)) from None
            what = f"{self._n_channels} channels at {self.sample_rate} Hz"
            raise InputError(
                f"{self.path.name}: {self._name} does not hold {what} ({_reason(error)}); choose the format wav"
            ) from None
