"""Segments of mixtures that lie on disk, for training."""

from collections.abc import Sequence

import numpy as np

from unmingle.data.entries import MixtureEntry
from unmingle.data.mixture import Mixture
from unmingle.facts import Cue


class SegmentDataset:
    """Segments of the mixtures of a set: of all of them once in random order, then once more, and so on.

    Stands where a `Mixer` does: item `i` depends on `(seed, i)` alone.

    Args:
        entries: from `read_set`.
        seed: of order and segments.
        n_items: how many items there are, as many rounds as that takes.
        length: of every segment [samples]; a mixture that is shorter is followed by silence.
        cues: those that the separator declares, which are cut in step.
    """

    corpora: tuple[str, ...] = ()  # the set's name says where its voices are from

    def __init__(
        self,
        entries: Sequence[MixtureEntry],
        *,
        seed: int,
        n_items: int,
        length: int,
        cues: Sequence[Cue] = (),
    ) -> None:
        self.entries, self.seed, self.n_items, self.length, self.cues = entries, seed, n_items, length, cues

    def __len__(self) -> int:
        return self.n_items

    def __getitem__(self, index: int) -> Mixture:
        if not 0 <= index < self.n_items:
            raise IndexError(index)
        turn, place = divmod(index, len(self.entries))
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.entries))
        item = self.entries[order[place]].read()
        spare = item.sources.shape[1] - self.length
        start = int(np.random.default_rng([self.seed, turn, place]).integers(max(spare, 0) + 1))

        def segment(rows: np.ndarray) -> np.ndarray:
            rows = rows[..., start : start + self.length]
            return np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, max(-spare, 0))])

        cues = {
            cue.name: cue.cut(item.cues[cue.name], start, self.length, item.sample_rate) for cue in self.cues
        }
        return Mixture(
            segment(item.mixture),
            segment(item.sources),
            segment(item.noise),
            item.sample_rate,
            item.id,
            item.speakers,
            cues,
            item.transcripts,
        )
