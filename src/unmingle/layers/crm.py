"""Complex ratio masks: what a source is of the mixture, in level and phase. Real and imaginary part are the
third last axis, `(…, 2, F, N)`.
"""

import torch
from torch import Tensor

LIMIT, STEEPNESS = 10.0, 0.1  # the K and the C of the paper


def compute(source: Tensor, mixture: Tensor) -> Tensor:
    """The mask `S / X` that makes the source of the mixture: `(…, 2, F, N)` both → same; 0 where the mixture
    is silent.

    A source of half the mixture's magnitude, a quarter turn ahead of it:

    >>> source, mixture = torch.tensor([0.0, 1.0]), torch.tensor([2.0, 0.0])
    >>> compute(source.reshape(2, 1, 1), mixture.reshape(2, 1, 1)).flatten().tolist()
    [0.0, 0.5]
    """
    conjugate = torch.stack([mixture.select(-3, 0), -mixture.select(-3, 1)], -3)
    return apply(source, conjugate) / mixture.square().sum(-3, keepdim=True).clamp(min=1e-12)


def apply(mask: Tensor, spectrum: Tensor) -> Tensor:
    """The complex product: `(…, 2, F, N)` both → same."""
    (a, b), (c, d) = mask.unbind(-3), spectrum.unbind(-3)
    return torch.stack([a * c - b * d, a * d + b * c], -3)


def compress(mask: Tensor) -> Tensor:
    """Either part of a mask into −K … K: `K (1 − e^(−Cx)) / (1 + e^(−Cx))`, which is `K tanh(Cx / 2)`, with K
    = 10 and C = 0.1.

    >>> [round(value, 3) for value in compress(torch.tensor([-1.0, 0.0, 1.0, 1000.0])).tolist()]
    [-0.5, 0.0, 0.5, 10.0]

    References:
        D. S. Williamson, Y. Wang and D. Wang, "Complex ratio masking for monaural speech separation", 2016.
    """
    return LIMIT * torch.tanh(STEEPNESS / 2 * mask)


def decompress(compressed: Tensor) -> Tensor:
    """The inverse of `compress`; a value that it cannot return, ±K and beyond, counts as the last value
    within.

    Only what lies in all of −K … K gives all masks back: the output of a sigmoid, 0 … 1, would come out as 0
    … 2 and never negative.
    """
    within = (compressed / LIMIT).clamp(-1 + 1e-6, 1 - 1e-6)
    return 2 / STEEPNESS * torch.atanh(within)
