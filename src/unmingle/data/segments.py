"""Segments of mixtures that lie on disk, for training."""

from collections.abc import Sequence

import numpy as np

from unmingle.data.entries import MixtureEntry
from unmingle.data.mixture import Mixture
from unmingle.facts import Facts


class SegmentDataset:
    """Segments of the mixtures of a set: of all of them once in random order, then once more, and so on.

    Stands where a `Mixer` does: item `i` depends on `(seed, i)` alone.

    Args:
        entries: from `read_set`.
        seed: of order and segments.
        n_items: how many items there are, as many rounds as that takes.
        length: of every segment [samples]; a mixture that is shorter is followed by silence.
        facts: of the separator; the cues that it declares are cut in step with the samples.
    """

    corpora: tuple[str, ...] = ()  # the set's name says where its voices are from

    def __init__(
        self,
        entries: Sequence[MixtureEntry],
        *,
        seed: int,
        n_items: int,
        length: int,
        facts: Facts | None = None,
    ) -> None:
        self.entries, self.seed, self.n_items, self.length, self.facts = entries, seed, n_items, length, facts

    def __len__(self) -> int:
        return self.n_items

    def batch(self, indices: Sequence[int]) -> list[Mixture]:
        """The items of a batch."""
        return [self[index] for index in indices]

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

        cues = {}
        if self.facts is not None:
            wanted = {cue.name: item.cues[cue.name] for cue in self.facts.cues}
            given = self.facts.arranged(wanted)
            for cue in self.facts.cues:
                cues[cue.name] = cue.cut(given[cue.name], start, self.length, item.sample_rate)
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
