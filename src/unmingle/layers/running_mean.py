"""Exponential means over time, which forget, as matrices, so that they live inside an exported graph."""

from math import log

import torch
from torch import Tensor, nn

BLOCK = 100  # frames


class RunningMean(nn.Module):
    """`mean = decay · mean + (1 − decay) · x`, frame by frame: `(B, N, D)` → the means `(B, N, D)`.

    Within a block of frames it is a triangular matrix of powers of `decay`; from block to block it is another
    one. So nothing runs frame by frame, and powers stay within what float32 can hold.

    >>> RunningMean(0.5, torch.ones(1))(torch.tensor([[[3.0], [4.0]]])).flatten().tolist()
    [2.0, 3.0]

    Args:
        decay: from 0 to 1, neither included.
        first: means before the first frame `(D,)`.
    """

    within: Tensor
    fading: Tensor
    first: Tensor

    def __init__(self, decay: float, first: Tensor) -> None:
        super().__init__()
        self.log_decay = log(decay)
        age = (torch.arange(BLOCK)[:, None] - torch.arange(BLOCK)).double()
        within = torch.where(age >= 0, (1 - decay) * decay**age, 0.0)
        fading = decay ** (1 + torch.arange(BLOCK)).double()
        self.register_buffer("within", within.float(), persistent=False)
        self.register_buffer("fading", fading.float()[:, None], persistent=False)
        self.register_buffer("first", first, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        n_frames = x.shape[1]
        n_blocks = (n_frames + BLOCK - 1) // BLOCK
        padded = nn.functional.pad(x, (0, 0, 0, BLOCK - 1))[:, : n_blocks * BLOCK]
        blocks = self.within @ padded.reshape(x.shape[0], -1, BLOCK, x.shape[2])  # B blocks BLOCK D
        ends = blocks[:, :, -1]
        number = torch.arange(ends.shape[1], device=x.device)
        age = (number[:, None] - 1 - number).float()  # of each block's end when another one begins [blocks]
        kept = torch.where(age >= 0, (age.clamp(min=0) * (BLOCK * self.log_decay)).exp(), 0.0)
        from_first = (number[:, None].float() * (BLOCK * self.log_decay)).exp() * self.first
        before = kept @ ends + from_first  # the mean when a block begins: B blocks D
        return (blocks + self.fading * before[:, :, None]).flatten(1, 2)[:, :n_frames]
