"""Cutting a long sequence into half-overlapping segments, so that it can be walked within the segments and
across them.
"""

import torch
from torch import Tensor
from torch.nn import functional


def segment(sequence: Tensor, size: int) -> Tensor:
    """`(B, N, D)` → `(B, K, size, D)`: segments that overlap by half, so that every frame lies in two of
    them; `size` is even.
    """
    hop = size // 2
    batch, n_frames, n_features = sequence.shape
    padded = functional.pad(sequence, (0, 0, hop, hop + (-n_frames) % hop))
    halves = padded.reshape(batch, -1, hop, n_features)
    return torch.cat([halves[:, :-1], halves[:, 1:]], dim=2)


def overlap_add(segments: Tensor, n_frames: int) -> Tensor:
    """`(B, K, size, D)` → `(B, n_frames, D)`: the inverse of `segment`, times two."""
    first, second = segments.chunk(2, dim=2)
    return (first[:, 1:] + second[:, :-1]).flatten(1, 2)[:, :n_frames]
