"""What the terms of an objective compare: a batch, and what the separator says of it."""

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn


class LossInputs:
    """One batch in float32, and the separator's estimates, for which it is asked once, when the first term
    wants them.

    Args:
        separator: `(B, C, T)` → `(B, S, T)`.
        batch: `mixture` `(B, C, T)` and `sources` `(B, S, T)`.

    Attributes:
        mixture: at the first microphone `(B, T)`.
        sources: `(B, S, T)`.
        others: what the mixture holds besides each source `(B, S, T)`.
        noise: what it holds besides all of them `(B, T)`.
    """

    def __init__(self, separator: Any, batch: dict[str, Any]) -> None:
        self.separator, self.given = separator, batch["mixture"]
        self.mixture, self.sources = batch["mixture"][:, 0].float(), batch["sources"].float()
        self.others = self.mixture[:, None] - self.sources
        self.noise = self.mixture - self.sources.sum(1)

    @cached_property
    def estimates(self) -> Tensor:
        """`(B, S, T)`."""
        return self.separator(self.given).float()

    @property
    def separator_ran(self) -> bool:
        """Whether the separator was run for its estimates."""
        return "estimates" in vars(self)


def spectra(stft: nn.Module, samples: Tensor) -> Tensor:
    """An `STFT` of `(…, T)`: real and imaginary part `(…, 2, F, N)`, in float32 whatever autocast says."""
    with torch.autocast(samples.device.type, enabled=False):
        return stft(samples.float().flatten(0, -2)).unflatten(0, samples.shape[:-1])


def power(spectrum: Tensor) -> Tensor:
    """Squared magnitude: `(…, 2, F, N)` → `(…, F, N)`."""
    return spectrum.square().sum(-3)
