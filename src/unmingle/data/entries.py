"""Mixtures that lie on disk, by the paths and numbers that are needed to read them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import numpy as np

from unmingle.data.corpora import read_channels, read_mono
from unmingle.data.mixer import TONE, convolve, room
from unmingle.data.mixture import Mixture
from unmingle.data.mouths import mouths_of
from unmingle.data.rooms import Room, simulate
from unmingle.errors import InputError
from unmingle.facts import LIPS, LIPS_RATE

CUES = "cues"  # a folder beside those of the mixtures; in it a folder per cue, in it ID.npy


@dataclass(frozen=True)
class MixtureEntry(ABC):
    """One mixture of a set; `read` makes it. Plain values, so that it goes to any process.

    Attributes:
        id: name of the mixture.
        about: what its set declares of it: `task`, `kind` of the noise, `snr_db` [dB].
        cues: a `.npy` file per cue, by name.
    """

    id: str
    about: dict[str, str | float] = field(default_factory=dict, kw_only=True)
    cues: dict[str, Path] = field(default_factory=dict, kw_only=True)

    @abstractmethod
    def read(self) -> Mixture:
        """Read and decode it; InputError names the file that is not as it should be."""


@dataclass(frozen=True)
class MixedEntry(MixtureEntry):
    """A mixture that is made when it is read, of voices and noise.

    Attributes:
        sources: a file per voice, of which the first `length` samples count. If they are videos of the
            people who speak, the lips are a cue.
        gains: of the voices.
        length: [samples].
        noise: a file or "tone:HZ" (see `noise_passage`); "" for none.
        noise_gain, noise_start: of it, the start in samples.
        t60_s: reverberation time of the room [s]; 0 for none. What a room adds to a voice is noise.
        room_seed: the same seed gives the same room.
        transcripts: what is said in each voice's first `length` samples, if that is known.
    """

    sources: tuple[Path, ...]
    gains: tuple[float, ...]
    length: int
    noise: str = ""
    noise_gain: float = 1.0
    noise_start: int = 0
    t60_s: float = 0.0
    room_seed: int = 0
    transcripts: tuple[str, ...] = ()

    def read(self) -> Mixture:
        dry, rate = self._voices()
        gains = np.array(self.gains, np.float32)[:, None]
        sources, noise = dry * gains, np.zeros(self.length, np.float32)
        if self.t60_s:
            noise += (through_room(dry, self.room_seed, rate, self.t60_s) * gains - sources).sum(axis=0)
        if self.noise:
            noise += self._noise(rate)
        speakers = [path.parent.name for path in self.sources]
        item = Mixture.of_sources(sources, noise, rate, self.id, speakers)
        item.transcripts = list(self.transcripts)
        if LIPS in self.cues:
            n_pictures = ceil(self.length * LIPS_RATE / rate)
            pictures = [mouths_of(path)[:n_pictures] for path in self.sources]
            whole = [np.pad(each, ((0, n_pictures - len(each)), (0, 0), (0, 0))) for each in pictures]
            item.cues = {LIPS: np.stack(whole).transpose(0, 2, 3, 1)}
        return item

    def _voices(self) -> tuple[np.ndarray, int]:
        """The voices before their gains, `(S, T)`, and their sample rate [Hz]."""
        voices, rates = zip(*(read_channels(path) for path in self.sources), strict=True)
        return np.stack([voice.mean(axis=0)[: self.length] for voice in voices]), rates[0]

    def _noise(self, sample_rate: int) -> np.ndarray:
        """The noise `(T,)`."""
        try:
            passage = noise_passage(self.noise, self.noise_start, self.length, sample_rate)
        except ValueError as error:
            raise InputError(f"{self.id}: {error}") from None
        return np.float32(self.noise_gain) * passage


@dataclass(frozen=True)
class RoomEntry(MixedEntry):
    """A mixture at several microphones that is made when it is read: the room is simulated. A source is a
    voice as it is, in its room, at the first microphone.

    Attributes:
        room: in it, as many sources as there are voices, and one more if there is noise.
    """

    room: Room = field(kw_only=True)

    def read(self) -> Mixture:
        """As `MixtureEntry.read`; UsageError if pyroomacoustics is not installed."""
        dry, rate = self._voices()
        responses, _ = simulate(self.room, rate)
        sources = np.zeros_like(dry)
        rest = np.zeros((len(self.room.mics), self.length), np.float32)
        for row, (voice, gain) in enumerate(zip(dry, self.gains, strict=True)):
            in_air = np.float32(gain) * convolve(voice, responses[row])
            sources[row], rest[1:] = in_air[0], rest[1:] + in_air[1:]
        if self.noise:
            rest += convolve(self._noise(rate), responses[-1])
        return Mixture.of_sources(sources, rest, rate, self.id, [path.parent.name for path in self.sources])


@dataclass(frozen=True)
class RecordedEntry(MixtureEntry):
    """A mixture that lies in a file, of any number of channels, beside a file per voice.

    Attributes:
        mixture: the file.
        sources: a file per voice, as long as the mixture, which is read at its first channel; what they do
            not explain of it is noise. None where nothing is known of the voices.
    """

    mixture: Path
    sources: tuple[Path, ...] = ()

    def read(self) -> Mixture:
        mixture, rate = read_channels(self.mixture)
        length = mixture.shape[1]
        sources = np.zeros((len(self.sources), length), np.float32)
        for row, path in enumerate(self.sources):
            voice = read_channels(path)[0][0]
            if len(voice) != length:
                expected = f"not as long as {self.mixture} ({length} samples)"
                raise InputError(f"{path}: {expected}; the set is damaged, build it again")
            sources[row] = voice
        cues = {name: _read_cue(path) for name, path in self.cues.items()}
        return Mixture(mixture, sources, mixture[0] - sources.sum(axis=0), rate, self.id, cues=cues)


def _read_cue(path: Path) -> np.ndarray:
    """Numbers of a cue, real ones as float32."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not a cue ({error}); expected an array written by numpy.save") from None
    if values.dtype.kind not in "fiub":
        raise InputError(f"{path}: not a cue ({values.dtype}); expected an array of real or whole numbers")
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def noise_passage(noise: str | Path, start: int, length: int, sample_rate: int) -> np.ndarray:
    """Noise of a mixture before its gain, `(T,)` float32.

    Args:
        noise: a recording, read in a circle: after its last sample comes its first one; or "tone:1234.5", a
            sine of that many Hz, amplitude 1 and phase 0.
        start: of the passage in the recording [samples at `sample_rate`].
        length: [samples].
        sample_rate: to which the recording is resampled [Hz].

    Raises:
        ValueError: the recording is empty or cannot be decoded, or the tone has no frequency.
    """
    kind, _, frequency = str(noise).partition(":")
    if kind == TONE:
        return np.sin(2 * np.pi * float(frequency) / sample_rate * np.arange(length)).astype(np.float32)
    samples = read_mono(Path(noise), sample_rate)
    if not len(samples):
        raise ValueError(f"{noise}: no samples in it")
    return np.take(samples, np.arange(start, start + length), mode="wrap")


def through_room(voices: np.ndarray, seed: int, sample_rate: int, t60_s: float) -> np.ndarray:
    """Voices `(S, T)` through a simple room, a response for each (see `unmingle.data.mixer.room`)."""
    rng = np.random.default_rng(seed)
    return np.stack([convolve(voice, room(rng, sample_rate, t60_s)) for voice in voices])
