"""Successive downsampling and resampling of multi-resolution features."""

from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, task_for
from unmingle.layers.filterbank import LearnedFilterbank
from unmingle.layers.norms import GlobalLayerNorm


class SuDoRMRF(nn.Module):
    """Masks on a learned filterbank, found by blocks of depthwise convolutions at many time scales.

    A block widens its input, halves its rate again and again by strided depthwise convolutions, and adds the
    resolutions up again from the coarsest to the finest: a receptive field that doubles with each level, at
    less than the cost of two layers at the full rate. Convolutions only, and few multiplications.

    Differs from the paper: masks end in a ReLU and are not normalised across the voices; the defaults are
    smaller. The paper's size is
    `n_filters=512, kernel_size=21, stride=10, n_features=128, n_hidden=512, n_blocks=16` at 8 kHz: 2.70 M
    parameters (paper: 2.66 M).

    Args:
        n_src: voices to find.
        sample_rate: [Hz].
        n_filters: basis signals of the filterbank.
        kernel_size: their length [samples].
        stride: distance between frames [samples].
        n_features: channels between the blocks.
        n_hidden: channels inside a block.
        n_blocks: blocks.
        n_levels: resolutions in a block, the full one included.

    References:
        E. Tzinis, Z. Wang and P. Smaragdis, "Sudo rm -rf: efficient networks for universal audio source
        separation", 2020. E. Tzinis et al., "Compute and memory efficient universal sound source separation",
        2022.
    """

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_filters: int = 256,
        kernel_size: int = 64,
        stride: int = 32,
        n_features: int = 128,
        n_hidden: int = 256,
        n_blocks: int = 10,
        n_levels: int = 5,
    ) -> None:
        super().__init__()
        self.facts = Facts(sample_rate=sample_rate, task=task_for(n_src), n_src=n_src)
        self.n_src = n_src
        self.filterbank = LearnedFilterbank(
            n_filters=n_filters, kernel_size=kernel_size, stride=stride, multiple=2 ** (n_levels - 1)
        )
        self.bottleneck = nn.Sequential(GlobalLayerNorm(n_filters), nn.Conv1d(n_filters, n_features, 1))
        self.blocks = nn.Sequential(*(UConvBlock(n_features, n_hidden, n_levels) for _ in range(n_blocks)))
        self.mask = nn.Sequential(
            nn.PReLU(n_features), nn.Conv1d(n_features, n_src * n_filters, 1), nn.ReLU()
        )

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        frames = self.filterbank(mixture[:, 0])  # B F N
        # B S F N
        masks = self.mask(self.blocks(self.bottleneck(frames))).float().unflatten(1, (self.n_src, -1))
        voices = masks * frames[:, None]
        return self.filterbank.inverse(voices.flatten(0, 1), mixture.shape[-1]).unflatten(0, (-1, self.n_src))


class UConvBlock(nn.Module):
    """Wide, down through the resolutions, up again adding them, narrow, residual: `(B, D, N)` → the same; N
    divides by 2^(levels − 1).
    """

    def __init__(self, n_features: int, n_hidden: int, n_levels: int) -> None:
        super().__init__()
        self.widen = nn.Sequential(
            nn.Conv1d(n_features, n_hidden, 1), GlobalLayerNorm(n_hidden), nn.PReLU(n_hidden)
        )
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(n_hidden, n_hidden, 5, stride=1 if level == 0 else 2, padding=2, groups=n_hidden),
                GlobalLayerNorm(n_hidden),
            )
            for level in range(n_levels)
        )
        self.narrow = nn.Sequential(
            GlobalLayerNorm(n_hidden), nn.PReLU(n_hidden), nn.Conv1d(n_hidden, n_features, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.widen(x)
        resolutions = []
        for level in self.levels:
            y = level(y)
            resolutions.append(y)
        for finer in reversed(resolutions[:-1]):
            y = finer + functional.interpolate(y, scale_factor=2.0, mode="nearest")
        return x + self.narrow(y)
