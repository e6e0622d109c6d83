"""Cutting a long sequence into half-overlapping segments, and walking within the segments and across them."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.norms import GlobalLayerNorm


def segment(sequence: Tensor, size: int, *, wide: bool = False, even: bool = False) -> Tensor:
    """`(B, N, D)` → `(B, K, size, D)`: segments that overlap by half, so that every frame lies in two of
    them; `size` is even. With `wide`, the first one is zeros, and the last one too where N is a multiple of
    half a segment; with `even`, K is even, and at least one more frame of zeros is behind. Networks of others
    whose weights are run need these.
    """
    hop = size // 2
    batch, n_frames, n_features = sequence.shape
    before, behind = (size, size - n_frames % hop) if wide else (hop, hop + (-n_frames) % hop)
    if even:
        behind = hop + size - (n_frames + hop) % size
    padded = functional.pad(sequence, (0, 0, before, behind))
    halves = padded.reshape(batch, -1, hop, n_features)
    return torch.cat([halves[:, :-1], halves[:, 1:]], dim=2)


def overlap_add(segments: Tensor, n_frames: int, *, wide: bool = False) -> Tensor:
    """`(B, K, size, D)` → `(B, n_frames, D)`: the inverse of `segment`, times two."""
    first, second = segments.chunk(2, dim=2)
    start = first.shape[2] if wide else 0
    return (first[:, 1:] + second[:, :-1]).flatten(1, 2)[:, start : start + n_frames]


class DualPathBlock(nn.Module):
    """One walk within the segments and one across them: `(B, K, P, D)` → the same."""

    def __init__(self, n_features: int, hidden: int) -> None:
        super().__init__()
        self.within = PathRNN(n_features, hidden)
        self.across = PathRNN(n_features, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.within(x)
        return x + self.across(x.transpose(1, 2)).transpose(1, 2)


class PathRNN(nn.Module):
    """A bidirectional LSTM along the third axis, back to the input's width, normalised: `(B, K, P, D)` → the
    same.
    """

    def __init__(self, n_features: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(n_features, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, n_features)
        self.norm = GlobalLayerNorm(n_features, channels_last=True)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(x.flatten(0, 1))
        return self.norm(self.linear(y).reshape(x.shape))
