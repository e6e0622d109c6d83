"""More outputs where more people speak at once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from unmingle.inference.diarization import overlap
from unmingle.inference.frames import TINY
from unmingle.runtime.separator import Separator

CROWDED = 0.5  # share of overlapped speech from which on it is looked for more people
#: The faintest output is a person's down to so far below the loudest [dB]: at no overlap, and by how much it
#: falls with its share. Where most of the speech is overlapped, three people are more probable than two.
FAINTEST_DB, PER_OVERLAP_DB = 6.0, -23.5


class PerChunk:
    """Separates every chunk by itself: with one separator, or with another that has an output more where so
    many people are heard. Elsewhere that output is silent.

    Args:
        few, more: the two, of one sample rate and length of a chunk; the second is loaded where it is needed.
        n_more: how many outputs the second has.
        fewest: how many people there are at least. If these are more than the first has outputs, the second
            takes every chunk in which two speak most of the time.

    Attributes:
        name: of the first.
        facts: of the first, but with the outputs of the second.
        n_heard: how many people there are in one of the chunks that the second took; 0 before.
    """

    def __init__(self, few: Separator, more: Callable[[], Separator], n_more: int, fewest: int = 1) -> None:
        self.name, self._few, self._more, self._sure = few.name, few, more, fewest >= n_more
        self.facts, self.n_heard = replace(few.facts, n_src=n_more), 0

    def __call__(self, mixture: np.ndarray, _: Any = None) -> np.ndarray:
        """`(1, T)` → `(S, T)`."""
        return self.separate_batch(mixture[None])[0]

    def separate_batch(self, mixtures: np.ndarray) -> np.ndarray:
        """`(B, 1, T)` → `(B, S, T)`."""
        found = self._few.separate_batch(mixtures)
        found = np.pad(found, ((0, 0), (0, self.facts.n_src - found.shape[1]), (0, 0)))
        for index, mixture in enumerate(mixtures):
            share = overlap(mixture[0])
            if share < CROWDED:
                continue
            more = self._more()(mixture)
            if self._sure or faintest_db(more) >= FAINTEST_DB + PER_OVERLAP_DB * share:
                found[index], self.n_heard = more, len(more)
        return found


def faintest_db(estimates: np.ndarray) -> float:
    """Level of the faintest of `(S, T)` over the loudest [dB]."""
    power = np.square(estimates, dtype=np.float64).sum(axis=1)
    return float(10 * np.log10((power.min() + TINY) / (power.max() + TINY)))
