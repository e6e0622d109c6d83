"""Dual-path recurrent network."""

import torch
from torch import Tensor, nn

from unmingle.facts import Facts, task_for
from unmingle.layers.dual_path import DualPathBlock, overlap_add, segment
from unmingle.layers.filterbank import LearnedFilterbank
from unmingle.layers.masks import MASKS
from unmingle.layers.norms import GlobalLayerNorm


class DPRNN(nn.Module):
    """Masks on a learned filterbank, found by recurrent layers that walk within short segments and across
    them in turn.

    A sequence of thousands of frames is too long for a recurrent layer. Cut into half-overlapping segments of
    about its square root, no walk is longer than some hundred steps: the first layer of a block reads each
    segment (what is spoken now), the second reads the same position of all segments (who speaks, over the
    whole utterance). Letters of the paper: N = `n_features`, H = `hidden`, L = `kernel_size`, K =
    `segment_size`, B = `n_blocks`.

    Differs from the paper: the defaults are its L = 16 variant carried over to 16 kHz; the number of filters
    and of features can differ; masks are
    gated (tanh × sigmoid) and end in a ReLU unless another limit is chosen.

    Args:
        n_src: voices to find.
        sample_rate: [Hz].
        n_filters: basis signals of the filterbank.
        kernel_size: their length [samples].
        stride: distance between frames [samples].
        n_features: width of the dual-path blocks.
        hidden: LSTM units per direction.
        segment_size: frames per segment, even.
        n_blocks: each one walk within and one across.
        encoder_relu: frames of the mixture are not negative.
        padded: zeros around the mixture; see `LearnedFilterbank`.
        wide: segments of zeros around the others; see `segment`.
        mask: "relu", "sigmoid", "softmax" for masks that sum to 1, or "linear".

    References:
        Y. Luo, Z. Chen and T. Yoshioka, "Dual-path RNN: efficient long sequence modeling for time-domain
        single-channel speech separation", 2020.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_filters: int = 64,
        kernel_size: int = 32,
        stride: int = 16,
        n_features: int = 64,
        hidden: int = 128,
        segment_size: int = 100,
        n_blocks: int = 6,
        encoder_relu: bool = True,
        padded: bool = True,
        wide: bool = False,
        mask: str = "relu",
    ) -> None:
        super().__init__()
        if mask not in MASKS:
            raise ValueError(f"no mask {mask!r}; there are {', '.join(MASKS)}")
        if segment_size % 2:
            raise ValueError(f"segment_size ({segment_size}) must be even: segments overlap by half")
        self.facts = Facts(sample_rate=sample_rate, task=task_for(n_src), n_src=n_src, chunk=16 * sample_rate)
        self.n_src, self.segment_size, self.wide, self.limit = n_src, segment_size, wide, MASKS[mask]
        self.filterbank = LearnedFilterbank(
            n_filters=n_filters,
            kernel_size=kernel_size,
            stride=stride,
            rectified=encoder_relu,
            padded=padded,
        )
        self.norm = GlobalLayerNorm(n_filters)
        self.bottleneck = nn.Linear(n_filters, n_features)
        self.blocks = nn.ModuleList(DualPathBlock(n_features, hidden) for _ in range(n_blocks))
        self.split = nn.Sequential(nn.PReLU(), nn.Linear(n_features, n_src * n_features))
        self.gated = nn.Linear(n_features, n_features)
        self.gate = nn.Linear(n_features, n_features)
        self.mask = nn.Sequential(nn.Linear(n_features, n_filters))

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        frames = self.filterbank(mixture[:, 0])  # B F N
        x = self.bottleneck(self.norm(frames).transpose(1, 2))  # B N D
        x = segment(x, self.segment_size, wide=self.wide)  # B K P D
        for block in self.blocks:
            x = block(x)
        x = overlap_add(self.split(x), frames.shape[-1], wide=self.wide)  # B N (S D)
        x = x.unflatten(-1, (self.n_src, -1)).transpose(1, 2)  # B S N D
        masks = self.limit(self.mask(torch.tanh(self.gated(x)) * torch.sigmoid(self.gate(x))).float())
        voices = masks.transpose(2, 3) * frames[:, None]  # B S F N
        return self.filterbank.inverse(voices.flatten(0, 1), mixture.shape[-1]).unflatten(0, (-1, self.n_src))
