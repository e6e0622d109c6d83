"""Temporal convolutional network: dilated depthwise convolutions in residual blocks."""

from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.norms import NORMS
from unmingle.layers.past import Past


class TCN(nn.Module):
    """Repeats of blocks whose dilation doubles; what comes out is the sum of every block's skip output: `(B, D, N)` → `(B, n_skip, N)`.

    Args:
        n_features: channels of the residual path.
        n_hidden: channels inside a block.
        n_skip: channels of the skip outputs; 0 = there are none, and the residual path `(B, D, N)` comes out.
        kernel_size: of the depthwise convolutions, odd.
        n_blocks: blocks per repeat, with dilations 1, 2, 4, ….
        n_repeats: repeats.
        norm: a key of `NORMS`; with "cLN" the convolutions look back only, and the network is causal.

    References:
        Y. Luo and N. Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech separation", 2019.
    """

    def __init__(
        self, *, n_features: int, n_hidden: int, n_skip: int, kernel_size: int = 3, n_blocks: int = 8, n_repeats: int = 3, norm: str = "gLN"
    ) -> None:
        super().__init__()
        dilations = [2**block for _ in range(n_repeats) for block in range(n_blocks)]
        last = len(dilations) - 1
        # What the last block adds to the residual path nobody reads where there are skips.
        self.blocks = nn.ModuleList(
            TCNBlock(n_features, n_hidden, n_skip, kernel_size=kernel_size, dilation=dilation, norm=norm, residual=not n_skip or number < last)
            for number, dilation in enumerate(dilations)
        )
        #: channels of what comes out
        self.n_out = n_skip or n_features
        #: frames that one output frame depends on
        self.receptive_field = 1 + (kernel_size - 1) * sum(dilations)

    def forward(self, x: Tensor, *past: Past) -> Tensor:
        skips: list[Tensor] = []
        for block in self.blocks:
            x, skip = block(x, *past)
            if skip is not None:
                skips = [skips[0] + skip] if skips else [skip]
        return skips[0] if skips else x


class TCNBlock(nn.Module):
    """1×1, PReLU, norm, dilated depthwise convolution, PReLU, norm, then a 1×1 for the residual path and one for the skip."""

    def __init__(self, n_features: int, n_hidden: int, n_skip: int, *, kernel_size: int, dilation: int, norm: str, residual: bool) -> None:
        super().__init__()
        reach, causal = (kernel_size - 1) * dilation, norm == "cLN"
        #: frames of the past that the convolution needs, and values that a stream keeps for it
        self.n_past, self.n_kept = (reach, n_hidden * reach) if causal else (0, 0)
        self.widen = nn.Sequential(nn.Conv1d(n_features, n_hidden, 1), nn.PReLU())
        self.norm_before = NORMS[norm](n_hidden)
        self.depthwise = nn.Conv1d(n_hidden, n_hidden, kernel_size, dilation=dilation, groups=n_hidden, padding=0 if causal else reach // 2)
        self.activation = nn.PReLU()
        self.norm_after = NORMS[norm](n_hidden)
        self.residual = nn.Conv1d(n_hidden, n_features, 1) if residual else None
        self.skip = nn.Conv1d(n_hidden, n_skip, 1) if n_skip else None

    def forward(self, x: Tensor, *past: Past) -> tuple[Tensor, Tensor | None]:
        y = self.norm_before(self.widen(x), *past)
        if past:
            y = past[0].extend(y, self.depthwise.in_channels, self.n_past)
        elif self.n_past:
            y = functional.pad(y, (self.n_past, 0))
        y = self.norm_after(self.activation(self.depthwise(y)), *past)
        return x if self.residual is None else x + self.residual(y), None if self.skip is None else self.skip(y)
