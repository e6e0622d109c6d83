"""Noises to try a separator on, made by formula, and mixed into a recording at a chosen level."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from unmingle.errors import InputError, UsageError
from unmingle.inference.pipeline import BLOCK_S, Progress, report
from unmingle.media.audio import open_audio
from unmingle.media.writer import AudioWriter

PERIOD_S = 20
FREQUENCIES_HZ = 20.0, 20_000.0
LEVELS_DB = -20.0, 40.0
KINDS = ("tone", "air-conditioner", "dog", "street", "second-voice")
VOICES = Path(__file__).parent / "voices"

Gain = Callable[[np.ndarray], np.ndarray]  # of frequencies [Hz]


@dataclass(frozen=True)
class Noise:
    """What is added to a recording.

    Attributes:
        kind: one of `KINDS`.
        level_db: of the recording over the noise, both over the whole length [dB].
        frequency_hz: of the tone [Hz].

    Raises:
        UsageError: unknown kind, level or frequency out of range.
    """

    kind: str
    level_db: float = 5.0
    frequency_hz: float = 440.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"no noise {self.kind!r:.40}; choose from {', '.join(KINDS)}")
        for value, (low, high), unit in (
            (self.level_db, LEVELS_DB, "dB"),
            (self.frequency_hz, FREQUENCIES_HZ, "Hz"),
        ):
            if not low <= value <= high:
                raise UsageError(f"{value:g} {unit} is out of range; choose {low:g} to {high:g} {unit}")


def make_noise(noise: Noise, sample_rate: int) -> np.ndarray:
    """One period of a noise, `(T,)` float32, to be repeated without a seam; the same whenever it is made.

    The tone is a sine. The air conditioner is noise that falls by 6 dB per octave above 250 Hz with the hum
    of a motor and its harmonics; the street is noise below 120 Hz with cars passing, noise around 700 Hz that
    swells and fades; the dog is bursts of a falling harmonic sound, in groups: like barks, but no dog. The
    second voice is a synthetic one.

    Args:
        noise: what to make; its level plays no part here.
        sample_rate: [Hz].

    Raises:
        UsageError: the sample rate cannot hold the tone.
    """
    n = PERIOD_S * sample_rate
    t = np.arange(n) / sample_rate
    rng = np.random.default_rng(0)
    if noise.kind == "second-voice":
        with open_audio(VOICES / "second.opus") as reader:
            spoken = np.concatenate(list(reader.blocks(reader.sample_rate)), axis=1)[0]
        return soxr.resample(spoken, reader.sample_rate, sample_rate)
    if noise.kind == "tone":
        if noise.frequency_hz >= sample_rate / 2:
            raise UsageError(
                f"a recording of {sample_rate} Hz holds no tone of {noise.frequency_hz:g} Hz; choose one "
                f"below {sample_rate / 2:g} Hz"
            )
        # Whole waves, so that it repeats without a click.
        made = np.sin(2 * np.pi * round(noise.frequency_hz * PERIOD_S) / PERIOD_S * t)
    elif noise.kind == "air-conditioner":
        hum = sum(np.sin(2 * np.pi * 100 * k * t + k) / k**1.5 for k in range(1, 7))
        made = (
            shaped_noise(rng, n, sample_rate, lambda hz: 1 / np.hypot(1, hz / 250))
            * (1 + 0.15 * np.sin(2 * np.pi * 0.35 * t))
            + 0.35 * hum
        )
    elif noise.kind == "street":
        made = shaped_noise(rng, n, sample_rate, lambda hz: 1 / np.hypot(1, (hz / 120) ** 1.5))
        for at_s, width_s in ((4, 1.6), (9.5, 1.0), (15.5, 2.0)):
            car = shaped_noise(rng, n, sample_rate, lambda hz: hz / 700 / (1 + (hz / 700) ** 2.5))
            made = made + 1.5 * car * np.exp(-(((t - at_s) / width_s) ** 2))
    else:
        made = np.zeros(n)
        for at_s in (0.4, 0.85, 3.1, 3.5, 3.95, 7.6, 8.0, 11.2, 11.6, 12.05, 12.5, 16.3, 16.8):
            bark = bark_like(rng, sample_rate)
            start = round(at_s * sample_rate)
            made[start : start + len(bark)] += bark
    return made.astype(np.float32)


def shaped_noise(rng: np.random.Generator, n: int, sample_rate: int, gain: Gain) -> np.ndarray:
    """Gaussian noise `(n,)` of root mean square 1 that repeats without a seam.

    Args:
        rng: where it is drawn from.
        n: its length [samples].
        sample_rate: [Hz].
        gain: the magnitude that it has at each frequency [Hz], up to a factor.
    """
    hz = np.fft.rfftfreq(n, 1 / sample_rate)
    spectrum = gain(hz) * (rng.standard_normal(len(hz)) + 1j * rng.standard_normal(len(hz)))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, n)
    return noise / np.sqrt(np.mean(np.square(noise)))


def bark_like(rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """A burst of 0.25 s: harmonics of a pitch that falls from about 650 Hz, loudest around 1.2 kHz, and a
    little breath.
    """
    t = np.arange(round(0.25 * sample_rate)) / sample_rate
    pitch = rng.uniform(550, 750) * np.exp(-2.5 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    heights = [
        np.exp(-(((k * pitch - 1_200) / 1_500) ** 2)) * (k * pitch < sample_rate / 2) for k in range(1, 9)
    ]
    voiced = sum(height * np.sin(k * phase) for k, height in enumerate(heights, 1))
    return (
        (voiced + 0.3 * rng.standard_normal(len(t)))
        * np.minimum(t / 0.01, 1)
        * np.exp(-12 * t)
        * rng.uniform(0.7, 1)
    )


def noise_gain(recording_energy: float, noise_energy: float, level_db: float) -> float:
    """What a noise is multiplied by so that the recording lies `level_db` above it: √(recording / noise) ·
    10^(−level / 20).

    >>> noise_gain(100.0, 1.0, 20.0)
    1.0
    """
    return float(np.sqrt(recording_energy / noise_energy) * 10 ** (-level_db / 20))


def write_mixture(source: Path, path: Path, noise: Noise, progress: Progress | None = None) -> None:
    """Write a recording plus a noise as WAV of the same rate, length and channels, in constant memory; each
    channel gets the same noise.

    The recording is read twice: its energy, and that of the noise beside it, set the gain.

    Raises:
        InputError: the recording cannot be read, or is silent.
        UsageError: the sample rate cannot hold the tone.
        Cancelled: by `progress`.
    """
    with open_audio(source) as reader:
        rate, total_s = (
            reader.sample_rate,
            None if reader.n_samples is None else reader.n_samples / reader.sample_rate,
        )
        period = make_noise(noise, rate)
        recording_energy, noise_energy, n_read = 0.0, 0.0, 0
        for block in reader.blocks(BLOCK_S * rate):
            report(progress, n_read / rate / 2, total_s)
            recording_energy += energy(block) / reader.n_channels
            noise_energy += energy(stretch(period, n_read, block))
            n_read += block.shape[1]
    if not recording_energy or not noise_energy:
        raise InputError(
            f"{source}: silent, so that no noise has a level beside it; choose a recording with sound, or "
            "add no noise"
        )
    gain, length_s, n_read = (
        np.float32(noise_gain(recording_energy, noise_energy, noise.level_db)),
        n_read / rate,
        0,
    )
    with (
        open_audio(source) as reader,
        AudioWriter(path, sample_rate=rate, n_channels=reader.n_channels) as writer,
    ):
        for block in reader.blocks(BLOCK_S * rate):
            report(progress, (length_s + n_read / rate) / 2, length_s)
            writer.write(block + gain * stretch(period, n_read, block))
            n_read += block.shape[1]


def energy(samples: np.ndarray) -> float:
    return float(np.sum(np.square(samples, dtype=np.float64)))


def stretch(period: np.ndarray, start: int, block: np.ndarray) -> np.ndarray:
    """What lies beside a block `(channels, t)` that begins at sample `start`, of a noise that is repeated:
    `(t,)`.
    """
    return np.take(period, np.arange(start, start + block.shape[1]), mode="wrap")
