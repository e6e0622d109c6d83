"""Samples to files: WAV, FLAC, MP3, M4A and Opus."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Self

import av
import numpy as np
import soxr

from unmingle.errors import InputError, UsageError
from unmingle.media.containers import declare_mp3_length, mp3_frame_size, reason_of


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
        InputError: the format does not hold this rate or number of channels; while writing, NaN or infinite
            samples.
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
        if not np.isfinite(samples).all():  # LAME ends the whole process then
            self._abandon()
            raise InputError(
                f"{self.path.name}: NaN or infinite samples cannot be written; check the recording"
            )
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
                f"{self.path.name}: {self._name} does not hold {what} ({reason_of(error)}); choose the "
                "format wav"
            ) from None
