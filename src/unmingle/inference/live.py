"""live(): a microphone or a pipe goes through a model that streams, as it comes."""

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from unmingle.errors import InputError, UsageError
from unmingle.inference.streaming import Stream

SAMPLE_FORMATS = {"s16": "<i2", "f32": "<f4"}  # of raw samples in a pipe
BUFFER_S = 0.2  # how far behind its source it may be before that counts as a drop-out


@dataclass
class RealTimeMonitor:
    """How far processing lies behind a source that plays in real time, and how often it fell too far behind.

    Attributes:
        sample_rate: [Hz].
        say: is called with a line about drop-outs, once a second at most.
        piped: the source waits, so that what is called a drop-out elsewhere loses nothing.
        n_samples: processed so far.
        busy_s: processing time.
        behind_s: processing that has piled up.
        drop_outs: times that this passed `BUFFER_S`, or that a sound card lost samples.
    """

    sample_rate: int
    say: Callable[[str], None]
    piped: bool = False
    n_samples: int = 0
    busy_s: float = 0.0
    behind_s: float = 0.0
    drop_outs: int = 0
    reported: tuple[int, int] = (0, 0)  # drop-outs and samples when they were last reported

    def processed(self, n: int, seconds: float, lost: int = 0) -> None:
        """Count `n` samples, processed in `seconds`; before them a sound card lost some `lost` times."""
        self.n_samples += n
        self.busy_s += seconds
        self.behind_s = max(0.0, self.behind_s + seconds - n / self.sample_rate)
        self.drop_outs += lost
        if self.behind_s > BUFFER_S:
            self.behind_s = 0.0
            self.drop_outs += 1
        reported, when = self.reported
        if self.drop_outs > reported and (not reported or self.n_samples - when >= self.sample_rate):
            self.reported = self.drop_outs, self.n_samples
            why = "nothing is lost" if self.piped else "processing is slower than real time"
            self.say(
                f"{self.times()} in {self.n_samples / self.sample_rate:.1f} s: {why}; "
                f"{'if it must play along, ' * self.piped}try a larger --block-ms"
            )

    def times(self) -> str:
        """How often it fell behind, in words."""
        end = "" if self.drop_outs == 1 else "s"
        return (
            f"behind real time {self.drop_outs} time{end}"
            if self.piped
            else f"{self.drop_outs} drop-out{end}"
        )

    def __str__(self) -> str:
        duration_s = self.n_samples / self.sample_rate
        share = self.busy_s / duration_s if duration_s else 0.0
        return f"{duration_s:.1f} s, busy {share:.0%} of the time, {self.times()}"


def from_pipe(
    stream: Stream,
    source: BinaryIO,
    sink: BinaryIO,
    *,
    format: str = "s16",
    block: int = 0,
    say: Callable[[str], None],
) -> RealTimeMonitor:
    """Raw mono samples from a pipe → raw samples of the voices, interleaved, until the pipe ends or it is
    interrupted.

    The samples that come out are those that went in, in step: nothing is put before them. A source that is
    faster than real time is made to wait.

    Args:
        stream: a fresh one.
        source, sink: binary, at the model's sample rate.
        format: a key of `SAMPLE_FORMATS`.
        block: how much is processed at once [samples]; the model's hop unless given.
        say: is called with a line about drop-outs.

    Raises:
        InputError: the pipe ends within a sample, all before which is written; or it brings a WAV file.
    """
    dtype, watch = np.dtype(SAMPLE_FORMATS[format]), RealTimeMonitor(stream.sample_rate, say, piped=True)
    scale = 32768 if format == "s16" else 1
    wanted, spare = (block or stream.hop) * dtype.itemsize, 0

    def write(voices: np.ndarray) -> None:
        rows = voices.T * scale
        sink.write((rows.round().clip(-32768, 32767) if format == "s16" else rows).astype(dtype).tobytes())
        sink.flush()

    try:
        while data := source.read(wanted):
            if not watch.n_samples and data[:4] == b"RIFF":
                raise InputError(
                    f"standard input is a WAV file, not raw {format} samples; for a file use: unmingle "
                    "enhance FILE"
                )
            spare = len(data) % dtype.itemsize  # only at the end
            began = time.perf_counter()
            samples = np.frombuffer(data[: len(data) - spare], dtype).astype(np.float32) / scale
            write(stream.feed(samples))
            watch.processed(len(samples), time.perf_counter() - began)
        write(stream.flush())
        if spare:
            raise InputError(
                f"standard input ends within a sample ({spare} bytes left, all before them is out); give "
                f"raw {format} mono samples"
            )
    except KeyboardInterrupt:
        pass  # the way to stop a source that has no end
    return watch


def from_microphone(
    stream: Stream, *, block: int = 0, device: str | None = None, say: Callable[[str], None], about: str = ""
) -> RealTimeMonitor:
    """The microphone → the loudspeaker, until interrupted; the first voice on the left, the second on the
    right.

    Args:
        stream, block, say: as for `from_pipe`.
        device: what sounddevice calls it, number or part of its name; the system's own unless given.
        about: a line that is said once the device is open.

    Raises:
        UsageError: sounddevice or PortAudio is not installed.
        InputError: no such device, or it cannot be opened at the model's sample rate.
    """
    sounddevice = import_sounddevice()
    block = block or stream.hop
    watch = RealTimeMonitor(stream.sample_rate, say)
    captured: queue.Queue[np.ndarray] = queue.Queue(
        maxsize=max(1, round(BUFFER_S * stream.sample_rate / block))
    )
    ready: queue.Queue[np.ndarray] = queue.Queue()
    lost, playing = 0, False  # only the callback changes them

    def callback(samples: np.ndarray, out: np.ndarray, n: int, times: Any, status: Any) -> None:
        nonlocal lost, playing
        lost += bool(status.input_overflow)
        try:
            captured.put_nowait(samples[:, 0].copy())
        except queue.Full:
            lost += 1
        try:
            out[:] = ready.get_nowait()
            playing = True
        except queue.Empty:
            out[:] = 0
            lost += playing  # before the first block it is the latency

    n_out = min(stream.n_src, 2)
    spare, counted = np.zeros((0, n_out), np.float32), 0
    try:
        number = int(device) if device is not None and device.isdecimal() else device
        options = {
            "samplerate": stream.sample_rate,
            "blocksize": block,
            "channels": (1, n_out),
            "dtype": "float32",
        }
        with sounddevice.Stream(device=number, callback=callback, **options):
            for line in filter(None, (about, "listening; stop with Ctrl-C")):
                say(line)
            while True:
                samples = captured.get()
                began = time.perf_counter()
                spare = np.concatenate([spare, stream.feed(samples)[:n_out].T])
                while len(spare) >= block:
                    ready.put(spare[:block])
                    spare = spare[block:]
                now = lost
                watch.processed(len(samples), time.perf_counter() - began, now - counted)
                counted = now
    except KeyboardInterrupt:
        return watch
    except (sounddevice.PortAudioError, ValueError) as error:
        raise InputError(
            f"microphone: cannot be opened ({error}); choose another with --device, or use a pipe: unmingle "
            "live -"
        ) from None


def import_sounddevice() -> Any:
    """The package through which sound cards are reached; UsageError says what to install if it cannot be."""
    try:
        import sounddevice
    except ImportError as error:
        needed, remedy = f"sounddevice ({error})", "pip install 'unmingle[live]'"
    except OSError as error:  # the library below the package, which brings it for Windows and macOS only
        needed, remedy = f"PortAudio ({error})", "install it (on Debian: apt install libportaudio2)"
    else:
        return sounddevice
    raise UsageError(f"the microphone needs {needed}; {remedy}, or use a pipe: unmingle live -")
