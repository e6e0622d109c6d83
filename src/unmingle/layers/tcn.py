"""Temporal convolutional network: dilated depthwise convolutions in residual blocks."""

from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.norms import NORMS


class TCN(nn.Module):
    """Repeats of blocks whose dilation doubles; what comes out is the sum of every block's skip output: `(B, D, N)` → `(B, n_skip, N)`.

    Args:
        n_features: channels of the residual path.
        n_hidden: channels inside a block.
        n_skip: channels of the skip outputs.
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
        self.blocks = nn.ModuleList(
            TCNBlock(n_features, n_hidden, n_skip, kernel_size=kernel_size, dilation=dilation, norm=norm, residual=number < last)
            for number, dilation in enumerate(dilations)
        )
        self.n_skip = n_skip
        #: frames that one output frame depends on
        self.receptive_field = 1 + (kernel_size - 1) * sum(dilations)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor | None = None
        for block in self.blocks:
            x, skip = block(x)
            total = skip if total is None else total + skip
        assert total is not None
        return total


class TCNBlock(nn.Module):
    """1×1, PReLU, norm, dilated depthwise convolution, PReLU, norm, then a 1×1 for the residual path and one for the skip."""

    def __init__(self, n_features: int, n_hidden: int, n_skip: int, *, kernel_size: int, dilation: int, norm: str, residual: bool) -> None:
        super().__init__()
        reach = (kernel_size - 1) * dilation
        self.padding = (reach, 0) if norm == "cLN" else (reach // 2, reach - reach // 2)
        self.widen = nn.Sequential(nn.Conv1d(n_features, n_hidden, 1), nn.PReLU(), NORMS[norm](n_hidden))
        self.depthwise = nn.Conv1d(n_hidden, n_hidden, kernel_size, dilation=dilation, groups=n_hidden)
        self.finish = nn.Sequential(nn.PReLU(), NORMS[norm](n_hidden))
        # What the last block adds to the residual path nobody reads.
        self.residual = nn.Conv1d(n_hidden, n_features, 1) if residual else None
        self.skip = nn.Conv1d(n_hidden, n_skip, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.finish(self.depthwise(functional.pad(self.widen(x), self.padding)))
        return x if self.residual is None else x + self.residual(y), self.skip(y)
