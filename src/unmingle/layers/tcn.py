"""Temporal convolutional network: dilated depthwise convolutions in residual blocks."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.norms import NORMS
from unmingle.layers.stream_state import StreamState


class TCN(nn.Module):
    """Repeats of blocks whose dilation doubles; what comes out is the sum of every block's skip output: `(B,
    D, N)` → `(B, n_skip, N)`.

    Args:
        n_features: channels of the residual path.
        n_hidden: channels inside a block.
        n_skip: channels of the skip outputs; 0 = there are none, and the residual path `(B, D, N)` comes out.
        kernel_size: of the depthwise convolutions, odd.
        n_blocks: blocks per repeat, with dilations 1, 2, 4, ….
        n_repeats: repeats.
        norm: a key of `NORMS`; with "cLN" the convolutions look back only, and the network is causal.

    References:
        Y. Luo and N. Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech
        separation", 2019.
    """

    def __init__(
        self,
        *,
        n_features: int,
        n_hidden: int,
        n_skip: int,
        kernel_size: int = 3,
        n_blocks: int = 8,
        n_repeats: int = 3,
        norm: str = "gLN",
    ) -> None:
        super().__init__()
        dilations = [2**block for _ in range(n_repeats) for block in range(n_blocks)]
        last = len(dilations) - 1
        # What the last block adds to the residual path nobody reads where there are skips.
        self.blocks = nn.ModuleList(
            TCNBlock(
                n_features,
                n_hidden,
                n_skip,
                kernel_size=kernel_size,
                dilation=dilation,
                norm=norm,
                residual=not n_skip or number < last,
            )
            for number, dilation in enumerate(dilations)
        )
        #: channels of what comes out
        self.n_out = n_skip or n_features
        #: frames that one output frame depends on
        self.receptive_field = 1 + (kernel_size - 1) * sum(dilations)

    def forward(self, x: Tensor, *past: StreamState) -> Tensor:
        features_last = torch.compiler.is_compiling() or bool(past)
        if features_last:
            x = x.transpose(1, 2).contiguous()
        skips: list[Tensor] = []
        block: Any
        for block in self.blocks:
            x, skip = block.features_last(x, *past) if features_last else block(x)
            if skip is not None:
                skips = [skips[0] + skip] if skips else [skip]
        out = skips[0] if skips else x
        return out.transpose(1, 2) if features_last else out


class TCNBlock(nn.Module):
    """1×1, PReLU, norm, dilated depthwise convolution, PReLU, norm, then a 1×1 for the residual path and one
    for the skip.
    """

    def __init__(
        self,
        n_features: int,
        n_hidden: int,
        n_skip: int,
        *,
        kernel_size: int,
        dilation: int,
        norm: str,
        residual: bool,
    ) -> None:
        super().__init__()
        reach, causal = (kernel_size - 1) * dilation, norm == "cLN"
        #: frames of the past that the convolution needs, and values that a stream keeps for it
        self.n_past, self.n_kept = (reach, n_hidden * reach) if causal else (0, 0)
        self.widen = nn.Sequential(nn.Conv1d(n_features, n_hidden, 1), nn.PReLU())
        self.norm_before: Any = NORMS[norm](n_hidden)
        self.depthwise = DepthwiseConv1d(
            n_hidden, kernel_size, dilation=dilation, padding=0 if causal else reach // 2
        )
        self.activation = nn.PReLU()
        self.norm_after: Any = NORMS[norm](n_hidden)
        self.residual = nn.Conv1d(n_hidden, n_features, 1) if residual else None
        self.skip = nn.Conv1d(n_hidden, n_skip, 1) if n_skip else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        y = self.norm_before(self.widen(x))
        if self.n_past:
            y = functional.pad(y, (self.n_past, 0))
        y = self.norm_after(self.activation(self.depthwise(y)))
        return x if self.residual is None else x + self.residual(y), None if self.skip is None else self.skip(
            y
        )

    def features_last(self, x: Tensor, *past: StreamState) -> tuple[Tensor, Tensor | None]:
        """The same of `(B, N, D)`, and the step of a stream: matrix products, and a depthwise convolution in
        plain sums, which `torch.compile` trains twice as fast, and which need no reordering where the norms
        are cumulative.
        """
        y = self.norm_before.features_last(self.widen[1](_pointwise(self.widen[0], x)), *past)
        if past:
            y = past[0].extend(y, self.n_past, self.depthwise.n_channels)
        elif self.n_past:
            y = functional.pad(y, (0, 0, self.n_past, 0))
        y = self.depthwise.features_last(y)
        y = self.norm_after.features_last(self.activation(y), *past)
        residual = x if self.residual is None else x + _pointwise(self.residual, y)
        return residual, None if self.skip is None else _pointwise(self.skip, y)


class DepthwiseConv1d(nn.Module):
    """Each channel filtered by its own taps: `(B, D, N)` → `(B, D, N + 2 padding − (K − 1) dilation)`.

    Args:
        n_channels, kernel_size: D and K; `weight` is `(K, 1, D)`, a tap after the other, as `features_last`
            reads them.
        dilation, padding: frames between the taps, and zeros on either side.
    """

    def __init__(self, n_channels: int, kernel_size: int, *, dilation: int, padding: int) -> None:
        super().__init__()
        self.n_channels, self.dilation, self.padding = n_channels, dilation, padding
        bound = kernel_size**-0.5
        self.weight = nn.Parameter(torch.empty(kernel_size, 1, n_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_channels).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv1d(
            x,
            self.weight.transpose(0, 2),
            self.bias,
            dilation=self.dilation,
            padding=self.padding,
            groups=self.n_channels,
        )

    def features_last(self, x: Tensor) -> Tensor:
        """The same of `(B, N, D)`, in plain sums."""
        x = functional.pad(x, (0, 0, self.padding, self.padding))
        reach = self.dilation * (len(self.weight) - 1)
        late = [x[:, start : x.shape[1] - reach + start] for start in range(0, reach + 1, self.dilation)]
        return sum(
            (each * tap for each, tap in zip(late, self.weight.to(x.dtype), strict=True)),
            self.bias.to(x.dtype),
        )


def _pointwise(layer: Any, x: Tensor) -> Tensor:
    """`(B, N, D)` → `(B, N, D')`."""
    return functional.linear(x, layer.weight[:, :, 0], layer.bias)
