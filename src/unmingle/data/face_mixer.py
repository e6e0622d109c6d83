"""FaceMixer: mixtures of people who are seen, with the pictures of their mouths."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import soxr

from unmingle.data.corpora import Corpus
from unmingle.data.mixer import Mixer, at_level, convolve, gain_to_level, room, tilt
from unmingle.data.mixture import Mixture
from unmingle.data.mouths import Mouths
from unmingle.facts import LIPS, LIPS_RATE, LIPS_SIZE

# Another camera's view of a mouth: largest angle [degrees], slant and stretch, smallest part of the picture.
TURNED, SLANTED, STRETCHED, SMALLEST = 12.0, 0.12, 0.15, 0.75


class FaceMixer(Mixer):
    """Draws mixtures in which every source has a face; the voices of others are noise.

    Args:
        speech: voices of people who are seen.
        noise: as for `Mixer`.
        mouths: the pictures, of the same recordings.
        unseen: voices of people without pictures, or None for none.
        p_others: the shares of mixtures with no, one, two, … other voices.
        p_unseen: share of the other voices that are drawn from `unseen`; the rest are of `speech`.
        p_still: how often each of the people seen is silent for a while, one perhaps all the time, and keeps
            the mouth still.
        p_hidden: share of mixtures in which one of the people seen is heard, but all of the pictures are
            missing.
        augment: change the pictures at random: mirrored, moved, turned, stretched, brighter,
            darker, blurred, partly hidden, missing.
        drawing: arguments of `Mixer`; `p_fewer` and `p_partial` do not matter here.
    """

    def __init__(
        self,
        speech: Corpus,
        noise: Corpus | None = None,
        *,
        mouths: Mouths,
        unseen: Corpus | None = None,
        p_others: Sequence[float] = (0.0, 1.0),
        p_unseen: float = 0.0,
        p_still: float = 0.0,
        p_hidden: float = 0.0,
        augment: bool = False,
        **drawing: Any,
    ) -> None:
        super().__init__(speech, noise, **drawing)
        self.mouths, self.unseen = mouths, unseen
        self.p_others = np.array(p_others) / np.sum(p_others)
        self.p_unseen = p_unseen if unseen is not None else 0.0
        self.p_still, self.p_hidden, self.augment = p_still, p_hidden, augment

    def __getitem__(self, index: int) -> Mixture:
        if not 0 <= index < self.n_items:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        corpora = list(self._speakers.values())
        people = corpora[rng.choice(len(self._weights), p=self._weights)]
        order = rng.permutation(len(people))
        seen, further = order[: self.n_src], list(order[self.n_src :])
        rate, loudest_db = self.speech.sample_rate, rng.uniform(*self.level_db)
        t60_s = rng.uniform(*self.t60_s) if rng.random() < self.p_room else 0.0
        still = np.flatnonzero(rng.random(self.n_src) < self.p_still)
        hidden = int(rng.integers(self.n_src)) if self.p_hidden and rng.random() < self.p_hidden else None
        sources = np.zeros((self.n_src, self.length), np.float32)
        noise = np.zeros(self.length, np.float32)
        lips, names = [], []

        def placed(voice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """The voice at its level, and as it is in the room."""
            in_air = convolve(voice, room(rng, rate, t60_s)) if t60_s else voice
            gain = gain_to_level(in_air, loudest_db - rng.uniform(0, self.difference_db))
            return gain * (voice if self.dry else in_air), gain * in_air

        for row, person in enumerate(seen):
            file = int(rng.choice(people[person]))
            voice, pictures = self._talking(file, rng)
            if row in still:
                self._silence(voice, pictures, rng, whole=row == still[0] and rng.random() < 0.5)
            if row == hidden:
                pictures[:] = 0
            sources[row], in_air = placed(voice)
            noise += in_air - sources[row]
            lips.append(self._changed(pictures, rng) if self.augment else pictures)
            names.append(self.speech.recordings[file].speaker)
        for _ in range(rng.choice(len(self.p_others), p=self.p_others)):
            if self.unseen is not None and (rng.random() < self.p_unseen or not further):
                corpus, file = self.unseen, int(rng.integers(len(self.unseen)))
            else:
                corpus, file = self.speech, int(rng.choice(people[further.pop()]))
            voice = self._sped(corpus, file, rng, self.speed)
            noise += placed(tilt(voice, rng, self.tilt_db) if self.tilt_db else voice)[1]
        if self._kinds and rng.random() < self.p_noise:
            noise += at_level(self._noise(rng), loudest_db - rng.uniform(*self.snr_db))
        peak = max(np.abs(sources.sum(axis=0) + noise).max(), np.abs(sources).max())
        gain = np.float32(min(1.0, 0.99 / peak)) if peak > 0 else np.float32(1.0)
        item = Mixture.of_sources(sources * gain, noise * gain, rate, f"{index:06d}", names)
        item.cues = {LIPS: np.ascontiguousarray(np.stack(lips).transpose(0, 2, 3, 1))}
        return item

    def _talking(self, file: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A random passage of a video: its sound `(T,)` and its pictures `(N, side, side)`, both as much
        faster or slower; what is longer than the video is silence without pictures.
        """
        speed, rate = rng.uniform(*self.speed), self.speech.sample_rate
        pictures, present = self.mouths.read(file), self.speech.length(file)
        wanted = ceil(self.length * speed) + 1
        start = int(rng.integers(max(present - wanted, 0) + 1))
        samples = self.speech.read(file, start, start + wanted)
        if speed != 1:
            samples = soxr.resample(samples, speed, 1.0, quality="LQ")
        samples = np.pad(samples[: self.length], (0, max(0, self.length - len(samples))))
        # The picture that is shown at each moment, where the video has one.
        moments = start / rate * LIPS_RATE + np.arange(self._n_pictures) * speed
        places = np.floor(moments + 1e-6).astype(int)
        there = places < len(pictures)
        shown = np.zeros((self._n_pictures, LIPS_SIZE, LIPS_SIZE), np.uint8)
        shown[there] = pictures[places[there]]
        return tilt(samples, rng, self.tilt_db) if self.tilt_db else samples, shown

    @property
    def _n_pictures(self) -> int:
        return ceil(self.length * LIPS_RATE / self.speech.sample_rate)

    def _silence(
        self, voice: np.ndarray, pictures: np.ndarray, rng: np.random.Generator, *, whole: bool
    ) -> None:
        """Silence a stretch of a voice, or the whole, and keep the mouth as it is in the quietest moment, but
        for a tremor.
        """
        n, step = self._n_pictures, self.speech.sample_rate / LIPS_RATE
        energy = [
            np.square(voice[round(k * step) : round((k + 5) * step)]).sum() for k in range(max(n - 5, 1))
        ]
        quiet = int(np.argmin(energy)) + 2
        n_still = n if whole else int(n * rng.uniform(0.2, 0.8))
        first = int(rng.integers(n - n_still + 1))
        walk = np.clip(np.cumsum(rng.integers(-1, 2, n_still)), -2, 2)
        pictures[first : first + n_still] = pictures[np.clip(quiet + walk, 0, n - 1)]
        voice[round(first * step) : round((first + n_still) * step)] = 0

    @staticmethod
    def _changed(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Pictures `(N, side, side)` as another camera would have taken them."""
        missing = np.logical_not(pictures.any(axis=(1, 2)))
        rows, columns = FaceMixer._turned(rng)
        changed: np.ndarray = pictures[:, rows, columns].astype(np.float32)
        if rng.random() < 0.2:
            changed = (changed + np.roll(changed, 1, 1) + np.roll(changed, 1, 2) + np.roll(changed, 2, 2)) / 4
        if rng.random() < 0.3:  # something before a part of it
            top, left = rng.integers(LIPS_SIZE - 10, size=2)
            height, width = rng.integers(10, LIPS_SIZE // 2, size=2)
            changed[:, top : top + height, left : left + width] = rng.uniform(0, 255)
        brightness, contrast = rng.uniform(-25, 25), rng.uniform(0.7, 1.3)
        changed = (changed * contrast + brightness).clip(1, 255).astype(np.uint8)
        changed = np.roll(changed, int(rng.integers(-1, 2)), 0)
        n = len(pictures)
        if rng.random() < 0.2:  # covered for a while
            first = int(rng.integers(n))
            missing[first : first + int(rng.integers(3, 40))] = True
        if rng.random() < 0.2:  # a picture now and then is shown twice
            again = np.flatnonzero(rng.random(n) < 0.15)
            changed[again] = changed[np.maximum(again - 1, 0)]
        changed[missing] = 0
        return changed

    @staticmethod
    def _turned(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns `(side, side)` of a picture from which another is made of it: larger, turned,
        stretched, slanted, moved, half of the time mirrored.
        """
        angle, slant = np.radians(rng.uniform(-TURNED, TURNED)), rng.uniform(-SLANTED, SLANTED)
        stretch, size = rng.uniform(1 - STRETCHED, 1 + STRETCHED), rng.uniform(SMALLEST, 1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        change = size * turn @ np.array([[1 / stretch, 0], [slant, stretch]])
        if rng.random() < 0.5:
            change[:, 1] *= -1
        middle = (LIPS_SIZE - 1) / 2
        grid = np.indices((LIPS_SIZE, LIPS_SIZE)).reshape(2, -1) - middle
        moved = rng.uniform(-1, 1, (2, 1)) * (1 - size) * middle
        rows, columns = (
            np.rint(change @ grid + moved + middle)
            .astype(int)
            .clip(0, LIPS_SIZE - 1)
            .reshape(2, LIPS_SIZE, -1)
        )
        return rows, columns
