"""SegmentDataset of mixtures that lie on disk, for training."""

import numpy as np

from unmingle.data.mixer import Mixture
from unmingle.data.sets import MixtureEntry


class SegmentDataset:
    """SegmentDataset of the mixtures of a set: all mixtures once in random order, then all once more, and so
    on.

    Stands where a `Mixer` does: item `i` depends on `(seed, i)` alone.

    Args:
        entries: from `read_set`.
        seed: of order and passages.
        n_items: how many items there are, as many rounds as that takes.
        length: of every passage [samples]; a mixture that is shorter is followed by silence.
    """

    corpora: tuple[str, ...] = ()  # the set's name says where its voices are from

    def __init__(self, entries: list[MixtureEntry], *, seed: int, n_items: int, length: int) -> None:
        self.entries, self.seed, self.n_items, self.length = entries, seed, n_items, length

    def __len__(self) -> int:
        return self.n_items

    def __getitem__(self, index: int) -> Mixture:
        if not 0 <= index < self.n_items:
            raise IndexError(index)
        turn, place = divmod(index, len(self.entries))
        item = self.entries[
            np.random.default_rng([self.seed, turn]).permutation(len(self.entries))[place]
        ].read()
        rest = item.sources.shape[1] - self.length
        start = int(np.random.default_rng([self.seed, turn, place]).integers(max(rest, 0) + 1))
        passage = np.pad(
            np.vstack([item.sources, item.noise])[:, start : start + self.length],
            ((0, 0), (0, max(-rest, 0))),
        )
        return Mixture(passage[:-1], passage[-1], item.sample_rate, item.id, item.speakers)
