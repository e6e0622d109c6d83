"""Mixer: speech, noise and rooms become mixtures whose sources are known."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import soxr
from scipy import fft

from unmingle.data.corpora import Corpus
from unmingle.data.mixture import Mixture

TONE = "tone"  # the kind of noise that is made, not recorded


@dataclass(frozen=True)
class Altered:
    """How far noises are altered."""

    at_once: int = 3
    below_db: float = 12.0  # by up to this, the second and third are softer than the first
    speed: tuple[float, float] = (0.6, 1.7)
    tilt_db: float = 12.0
    p_backwards: float = 0.4
    p_stationary: float = 0.15


ALTERED = Altered()

# Which source it is, the noise after the voices, and its samples (T,), to what reaches the microphones (C, T)
# and what of that is the source's reference (T,).
Air = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]


def level_db(samples: np.ndarray) -> float:
    """Root mean square over the active part (within 40 dB of the loudest 20 ms) [dB re full scale]; −inf for
    silence.
    """
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320) if len(samples) >= 320 else samples[None]
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    if not power.any():
        return -np.inf
    return float(10 * np.log10(power[power > power.max() * 1e-4].mean()))


def gain_to_level(samples: np.ndarray, target_db: float) -> np.float32:
    """Factor that brings `level_db` of `samples` to `target_db`; 1 for silence."""
    present = level_db(samples)
    return np.float32(1.0 if present == -np.inf else 10 ** ((target_db - present) / 20))


def at_level(samples: np.ndarray, target_db: float) -> np.ndarray:
    """Scale `samples` so that `level_db` of them is `target_db`; silence stays silence."""
    return samples * gain_to_level(samples, target_db)


def tilt(samples: np.ndarray, rng: np.random.Generator, max_db: float) -> np.ndarray:
    """Colour a voice as microphones do: a smooth random curve over log frequency, up to `max_db` [dB] either
    way.
    """
    n_fft = fft.next_fast_len(len(samples) + 2048, real=True)
    knots = rng.uniform(-max_db, max_db, 6).astype(np.float32)
    curve_db = knots @ _hats(n_fft // 2 + 1)
    shaped = fft.irfft(fft.rfft(samples, n_fft) * np.exp(curve_db * np.float32(np.log(10) / 20)), n_fft)
    return shaped[: len(samples)]


def stationary(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise with the spectrum of `samples`, whose phases are drawn anew: what happened in them is spread over
    their whole length.
    """
    spectrum = fft.rfft(samples)
    turned = spectrum * np.exp(2j * np.pi * rng.random(len(spectrum))).astype(np.complex64)
    return fft.irfft(turned, len(samples))


@lru_cache(maxsize=4)
def _hats(n_bins: int) -> np.ndarray:
    """Linear interpolation between six knots over log frequency, as a matrix: float32 `(6, n_bins)`."""
    position = np.log2(1 + 31 * np.linspace(0, 1, n_bins))
    return np.maximum(0, 1 - np.abs(position - np.arange(6)[:, None])).astype(np.float32)


def room(rng: np.random.Generator, sample_rate: int, t60_s: float) -> np.ndarray:
    """A simple room response `(T,)`: the direct sound, a few early reflections, and noise that decays by 60
    dB in `t60_s`.
    """
    length = int(t60_s * sample_rate)
    time = np.arange(length)
    tail = rng.standard_normal(length) * 10 ** (-3 * time / length)
    onset = int(0.02 * sample_rate)
    tail[:onset] *= np.linspace(0, 1, onset) ** 2
    direct_to_tail_db = rng.uniform(0, 12)
    response = tail * 10 ** (-direct_to_tail_db / 20) / max(float(np.linalg.norm(tail)), 1e-9)
    for _ in range(6):
        response[rng.integers(int(0.001 * sample_rate), onset)] += rng.uniform(-0.4, 0.4)
    response[0] = 1.0
    return response.astype(np.float32)


def convolve(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """`samples` `(T,)` through `response` `(…, R)`, cut to the length of `samples`: `(…, T)`."""
    n_fft = fft.next_fast_len(len(samples) + response.shape[-1] - 1, real=True)
    spectrum = fft.rfft(samples, n_fft) * fft.rfft(response, n_fft)
    return fft.irfft(spectrum, n_fft)[..., : len(samples)]


def shares_absent(p_fewer: float | Sequence[float], n_src: int) -> np.ndarray:
    """Where the draw of a number in [0, 1) must lie so that 1, 2, … of `n_src` voices are absent: one
    ascending bound for each; below the first, none is.
    """
    most = max(1, n_src - 1)
    shares = [p_fewer / most] * most if isinstance(p_fewer, int | float) else list(p_fewer)
    if len(shares) > most or sum(shares) > 1 + 1e-9:
        raise ValueError(f"p_fewer is {p_fewer}; give at most {most} shares, whose sum is 1 at most")
    return 1 - np.cumsum(shares[::-1])[::-1]


class Mixer:
    """Draws mixtures; item `i` depends on `(seed, i)` alone, so any number of workers yields the same set.

    All voices of a mixture come from the same corpus: otherwise a network learns to tell recording channels
    apart instead of voices.

    Args:
        speech: voices.
        noise: noises, or None for none.
        seed: of the whole set.
        n_items: length of the set.
        length_s: of every mixture [s].
        n_src: number of rows in `sources`.
        p_fewer: share of mixtures in which voices are absent: any number of them but all, with equal chance;
            or the shares in which one, two, … are.
        p_partial: share of mixtures whose voices overlap only partly.
        level_db: range of the mixture's louder voice [dB re full scale].
        difference_db: the voices' levels differ by up to this [dB].
        speed: range of the speed perturbation; 1 leaves the voice as it is.
        tilt_db: each voice is coloured by up to this [dB].
        p_noise, snr_db: share of mixtures with noise, and its range below the voices [dB].
        kinds: of noise, each drawn as often as the others; all that `noise` has unless given. "tone" is made:
            a sine of `tone_hz` [Hz].
        p_altered: share of noises that are altered, for one that is to meet others than there are recordings
            of: up to three passages of any kinds at once, each of which may be backwards, much faster or
            slower, coloured, or stationary (see `ALTERED`).
        p_room, t60_s: share of mixtures in a room, and the range of its reverberation time [s].
        dry: what the room adds to a voice is noise, not voice.
        weights: how often each corpus is drawn, relative to the others; a corpus that is not named counts by
            its hours.
    """

    def __init__(
        self,
        speech: Corpus,
        noise: Corpus | None = None,
        *,
        seed: int,
        n_items: int,
        length_s: float,
        n_src: int = 2,
        p_fewer: float | Sequence[float] = 0.0,
        p_partial: float = 0.0,
        level_db: tuple[float, float] = (-30.0, -20.0),
        difference_db: float = 5.0,
        speed: tuple[float, float] = (1.0, 1.0),
        tilt_db: float = 0.0,
        p_noise: float = 0.0,
        snr_db: tuple[float, float] = (5.0, 25.0),
        kinds: Sequence[str] = (),
        tone_hz: tuple[float, float] = (750.0, 3000.0),
        p_altered: float = 0.0,
        p_room: float = 0.0,
        t60_s: tuple[float, float] = (0.1, 0.5),
        dry: bool = False,
        weights: dict[str, float] | None = None,
    ) -> None:
        if noise is not None and noise.sample_rate != speech.sample_rate:
            raise ValueError(
                f"noise at {noise.sample_rate} Hz, speech at {speech.sample_rate} Hz; decode both at one rate"
            )
        of_kind: dict[str, list[int]] = defaultdict(list)
        for index, recording in enumerate(noise.recordings if noise is not None else ()):
            of_kind[recording.speaker].append(index)
        self._kinds = list(kinds) or list(of_kind)
        if unknown := set(self._kinds) - set(of_kind) - {TONE}:
            raise ValueError(
                f"no noise of kind {', '.join(sorted(unknown))}; there are "
                f"{', '.join([*sorted(of_kind), TONE])}"
            )
        if p_noise and not self._kinds:
            raise ValueError("p_noise is set but no noise is given")
        self._of_kind = of_kind
        self.speech, self.noise = speech, noise
        self.seed, self.n_items, self.n_src = seed, n_items, n_src
        self.length = round(length_s * speech.sample_rate)
        self._p_absent = shares_absent(p_fewer, n_src)
        self.p_partial, self.p_noise, self.p_room = p_partial, p_noise, p_room
        self.p_altered = p_altered
        self.level_db, self.difference_db, self.speed, self.tilt_db = level_db, difference_db, speed, tilt_db
        self.snr_db, self.tone_hz, self.t60_s, self.dry = snr_db, tone_hz, t60_s, dry
        by_corpus: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for index, recording in enumerate(speech.recordings):
            by_corpus[recording.corpus][recording.speaker].append(index)
        self._speakers = {
            corpus: list(of_speaker.values())
            for corpus, of_speaker in by_corpus.items()
            if len(of_speaker) >= n_src
        }
        if not self._speakers:
            raise ValueError(f"no corpus has {n_src} speakers")
        seconds = {
            name: sum(speech.length(index) for files in voices for index in files)
            for name, voices in self._speakers.items()
        }
        drawn = np.array(
            [(weights or {}).get(name, seconds[name] / speech.sample_rate / 3600) for name in self._speakers]
        )
        self._weights = drawn / drawn.sum()

    @property
    def corpora(self) -> list[str]:
        """Names of the collections that voices and noises are drawn from, where they have one."""
        drawn = [
            recording
            for corpus in (self.speech, self.noise if self.p_noise else None)
            if corpus
            for recording in corpus.recordings
        ]
        return sorted({recording.corpus for recording in drawn} - {""})

    def __len__(self) -> int:
        return self.n_items

    def __getitem__(self, index: int) -> Mixture:
        return self._draw(index, 1)

    def batch(self, indices: Sequence[int]) -> list[Mixture]:
        """The items of a batch, all with the same number of microphones."""
        return [self[index] for index in indices]

    def _air(self, rng: np.random.Generator, n_mics: int) -> Air:
        """Draw where a mixture's sources are: a room, or none."""
        in_room = rng.random() < self.p_room
        t60_s = rng.uniform(*self.t60_s)

        def reaches(row: int, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if not in_room or row == self.n_src:
                return samples[None], samples
            in_air = convolve(samples, room(rng, self.speech.sample_rate, t60_s))
            return in_air[None], samples if self.dry else in_air

        return reaches

    def _draw(self, index: int, n_mics: int) -> Mixture:
        """Item `index`, at so many microphones."""
        if not 0 <= index < self.n_items:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        speakers = list(self._speakers.values())[rng.choice(len(self._weights), p=self._weights)]
        files = [int(rng.choice(speakers[k])) for k in rng.choice(len(speakers), self.n_src, replace=False)]
        air = self._air(rng, n_mics)
        absent: set[int] = set()
        if n_absent := int(np.searchsorted(self._p_absent, rng.random(), side="right")):
            first = int(rng.integers(self.n_src))
            absent = {(first + k) % self.n_src for k in range(n_absent)}
        partial = rng.random() < self.p_partial
        loudest_db = rng.uniform(*self.level_db)
        sources = np.zeros((self.n_src, self.length), dtype=np.float32)
        # What is at the microphones besides the sources, which are those at the first one.
        rest = np.zeros((n_mics, self.length), dtype=np.float32)
        for row, file in enumerate(files):
            in_air, reference = air(row, self._voice(file, rng, partial))
            if row not in absent:
                gain = gain_to_level(
                    in_air[0], loudest_db - (rng.uniform(0, self.difference_db) if row else 0.0)
                )
                sources[row] = gain * reference
                heard = gain * in_air
                heard[0] -= sources[row]
                rest += heard
        if self._kinds and rng.random() < self.p_noise:
            in_air, _ = air(self.n_src, self._noise(rng))
            rest += gain_to_level(in_air[0], loudest_db - rng.uniform(*self.snr_db)) * in_air
        mixture = rest.copy()
        mixture[0] += sources.sum(axis=0)
        peak = max(np.abs(mixture).max(), np.abs(sources).max())
        gain = np.float32(min(1.0, 0.99 / peak)) if peak > 0 else np.float32(1.0)
        names = [
            "" if row in absent else self.speech.recordings[file].speaker for row, file in enumerate(files)
        ]
        rate = self.speech.sample_rate
        return Mixture.of_sources(sources * gain, rest * gain, rate, f"{index:06d}", names)

    def _cut(self, corpus: Corpus, file: int, length: int, rng: np.random.Generator) -> np.ndarray:
        """A random passage of a file; a shorter file is put at a random place in silence."""
        present = corpus.length(file)
        if present >= length:
            start = int(rng.integers(present - length + 1))
            return corpus.read(file, start, start + length)
        samples = np.zeros(length, dtype=np.float32)
        start = int(rng.integers(length - present + 1))
        samples[start : start + present] = corpus.read(file)
        return samples

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        if self.p_altered and rng.random() < self.p_altered:
            return self._altered(rng)
        return self._passage(rng, self.speed, self.tilt_db)

    def _altered(self, rng: np.random.Generator) -> np.ndarray:
        """Passages of noise as no recording has them, one or several at once."""
        noise = np.zeros(self.length, dtype=np.float32)
        for place in range(int(rng.integers(1, ALTERED.at_once + 1))):
            passage = self._passage(rng, ALTERED.speed, ALTERED.tilt_db)
            if rng.random() < ALTERED.p_backwards:
                passage = passage[::-1]
            if rng.random() < ALTERED.p_stationary:
                passage = stationary(passage, rng)
            noise += at_level(passage, -rng.uniform(0, ALTERED.below_db) if place else 0.0)
        return noise

    def _passage(self, rng: np.random.Generator, speed: tuple[float, float], tilt_db: float) -> np.ndarray:
        """A random passage of a random kind of noise, faster or slower, and coloured."""
        kind = self._kinds[int(rng.integers(len(self._kinds)))]
        if kind == TONE:
            turns = (
                rng.uniform(*self.tone_hz) / self.speech.sample_rate * np.arange(self.length) + rng.random()
            )
            return np.sin(2 * np.pi * turns).astype(np.float32)
        assert self.noise is not None
        noise = self._sped(self.noise, int(rng.choice(self._of_kind[kind])), rng, speed)
        return tilt(noise, rng, tilt_db) if tilt_db else noise

    def _voice(self, file: int, rng: np.random.Generator, partial: bool) -> np.ndarray:
        voice = self._sped(self.speech, file, rng, self.speed)
        if partial:
            # The voice is active in one stretch of 20 to 80 % of the time.
            keep = int(self.length * rng.uniform(0.2, 0.8))
            start = int(rng.integers(self.length - keep + 1))
            voice[:start] = 0
            voice[start + keep :] = 0
        return tilt(voice, rng, self.tilt_db) if self.tilt_db else voice

    def _sped(
        self, corpus: Corpus, file: int, rng: np.random.Generator, speed: tuple[float, float]
    ) -> np.ndarray:
        """A random passage of a file, faster or slower, which also moves its pitch."""
        factor = rng.uniform(*speed)
        samples = self._cut(corpus, file, int(self.length * factor) + 1, rng)
        if factor != 1:
            samples = soxr.resample(samples, factor, 1.0, quality="LQ")
        return np.pad(samples[: self.length], (0, max(0, self.length - len(samples))))
