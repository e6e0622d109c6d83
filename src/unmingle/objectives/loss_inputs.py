"""What the terms of an objective compare: a batch, and the separator's estimates."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from unmingle.data.batch import Batch


class LossInputs:
    """One batch in float32, and the separator's estimates, computed once, when the first term needs them.

    Args:
        separator: turns `(B, C, T)`, and the batch's cues, into `(B, S, T)`.
        batch: what it is trained on.

    Attributes:
        mixture: at the first microphone `(B, T)`.
        sources: `(B, S, T)`.
        others: what the mixture holds besides each source `(B, S, T)`.
        noise: what it holds besides all of them `(B, T)`.
    """

    def __init__(self, separator: Any, batch: Batch) -> None:
        self.separator, self.batch = separator, batch
        self.mixture, self.sources = batch.mixture[:, 0].float(), batch.sources.float()
        self.others = self.mixture[:, None] - self.sources
        self.noise = self.mixture - self.sources.sum(1)

    @cached_property
    def estimates(self) -> Tensor:
        """`(B, S, T)`."""
        return self.separator(self.batch.mixture, **self.batch.cues).float()

    @property
    def separator_ran(self) -> bool:
        """Whether the separator was run for its estimates."""
        return "estimates" in vars(self)


def spectra(stft: nn.Module, samples: Tensor) -> Tensor:
    """An `STFT` of `(…, T)`: real and imaginary part `(…, 2, F, N)`, in float32 also under autocast."""
    with torch.autocast(samples.device.type, enabled=False):
        return stft(samples.float().flatten(0, -2)).unflatten(0, samples.shape[:-1])


def power(spectrum: Tensor) -> Tensor:
    """Squared magnitude: `(…, 2, F, N)` → `(…, F, N)`."""
    return spectrum.square().sum(-3)
