"""ArrayMixer: mixtures at several microphones in simulated rooms."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from unmingle.data.corpora import Corpus
from unmingle.data.mixer import Air, Mixer, convolve
from unmingle.data.mixture import Mixture
from unmingle.data.rooms import Rooms

BATCH = 7  # tells the draw of a batch's number of microphones from those of its items


class ArrayMixer(Mixer):
    """Draws mixtures of voices, and noise, that stand somewhere in a room, at several microphones.

    An item has the most microphones; `batch` draws a number of them for all of its items.

    Args:
        speech, noise: as for `Mixer`.
        rooms: with a place more than there are voices, for the noise.
        n_mics: lowest and highest number of microphones.
        drawing: arguments of `Mixer`. With `dry`, a voice's reference is its direct path to the first
            microphone instead of all that arrives there. `p_room` and `t60_s` do not matter here.
    """

    def __init__(
        self,
        speech: Corpus,
        noise: Corpus | None = None,
        *,
        rooms: Rooms,
        n_mics: tuple[int, int],
        **drawing: Any,
    ) -> None:
        super().__init__(speech, noise, **drawing)
        self.rooms, self.n_mics = rooms, n_mics

    def __getitem__(self, index: int) -> Mixture:
        return self._draw(index, self.n_mics[1])

    def batch(self, indices: Sequence[int]) -> list[Mixture]:
        fewest, most = self.n_mics
        n_mics = int(np.random.default_rng([self.seed, indices[0], BATCH]).integers(fewest, most + 1))
        return [self._draw(index, n_mics) for index in indices]

    def _air(self, rng: np.random.Generator, n_mics: int) -> Air:
        responses, paths = self.rooms.read(int(rng.integers(len(self.rooms))), n_mics)

        def reaches(row: int, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            in_air = convolve(samples, responses[row])
            return in_air, convolve(samples, paths[row]) if self.dry else in_air[0]

        return reaches
