"""What an objective gets: several mixtures with all that is known of them, as tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmingle.data.mixture import Mixture


@dataclass
class Batch:
    """Mixtures of one length.

    Attributes:
        mixture: `(B, C, T)`.
        sources: as they are at the first microphone `(B, S, T)`.
        noise: what else is there `(B, T)`; None if it is not known apart from the mixture.
        cues: by name, each `(B, …)`; see `Facts.cues`.
        speakers, transcripts: of each mixture, one text per source.
        index: which items of the set they are `(B,)`.
        order: the order of the sources that an objective must take `(B, S)`; None leaves it free.
        share_done: part of the training's budget that is spent, 0 to 1.
    """

    mixture: Tensor
    sources: Tensor
    noise: Tensor | None = None
    cues: dict[str, Tensor] = field(default_factory=dict)
    speakers: list[list[str]] = field(default_factory=list)
    transcripts: list[list[str]] = field(default_factory=list)
    index: Tensor | None = None
    order: Tensor | None = None
    share_done: float = 1.0

    def __len__(self) -> int:
        return len(self.mixture)

    def to(self, device: Any, non_blocking: bool = False) -> "Batch":
        """The same on another device; Lightning calls it."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The same in page-locked memory; the DataLoader calls it."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        changed: dict[str, Any] = {"cues": {name: change(cue) for name, cue in self.cues.items()}}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Tensor):
                changed[entry.name] = change(value)
        return replace(self, **changed)

    def segmented(self, length: int) -> "Batch":
        """Cut items into segments of `length` samples, `T // length` of each; what is left over is dropped.

        ValueError where there are cues, which are not cut.
        """
        if length >= self.mixture.shape[-1]:
            return self
        if self.cues:
            raise ValueError("items with cues are not cut into segments; leave data.curriculum out")

        def cut(values: Tensor) -> Tensor:
            return values.unfold(-1, length, length).transpose(1, 2).flatten(0, 1)

        noise = None if self.noise is None else cut(self.noise[:, None])[:, 0]
        return replace(self, mixture=cut(self.mixture), sources=cut(self.sources), noise=noise)


def collate(items: Sequence[tuple[int, Mixture]]) -> Batch:
    """Put mixtures of one length, with their places in the set, into a batch."""
    mixtures = [item for _, item in items]

    def stacked(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays))

    return Batch(
        stacked([item.mixture for item in mixtures]),
        stacked([item.sources for item in mixtures]),
        stacked([item.noise for item in mixtures]),
        {name: stacked([item.cues[name] for item in mixtures]) for name in mixtures[0].cues},
        [item.speakers for item in mixtures],
        [item.transcripts for item in mixtures],
        torch.tensor([index for index, _ in items]),
    )
