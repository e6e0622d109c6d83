"""Normalisations over channels and time; statistics are float32 whatever the input is."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.layers.stream_state import StreamState

EPS = 1e-8
HORIZON = 2**20  # frames that a cumulative mean remembers: 17 minutes of 1 ms


class GlobalLayerNorm(nn.Module):
    """gLN: mean and variance of each item over all its axes, then a gain and an offset per feature.

    Args:
        n_features: size of the feature axis.
        channels_last: features on the last axis, `(B, …, D)`, instead of the second, `(B, D, …)`.

    References:
        Y. Luo and N. Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech
        separation", 2019.
    """

    def __init__(self, n_features: int, *, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.weight = nn.Parameter(torch.ones(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))

    def forward(self, x: Tensor) -> Tensor:
        if not self.channels_last:
            return functional.group_norm(x, 1, self.weight.to(x.dtype), self.bias.to(x.dtype), EPS)
        flat = functional.group_norm(x.reshape(x.shape[0], 1, -1), 1, eps=EPS)
        return flat.reshape(x.shape) * self.weight + self.bias

    def features_last(self, x: Tensor) -> Tensor:
        """The same of `(B, N, D)`, in steps that `torch.compile` joins with their neighbours."""
        wide = x.float()
        variance, mean = torch.var_mean(wide, (1, 2), correction=0, keepdim=True)
        return ((wide - mean) * (variance + EPS).rsqrt() * self.weight + self.bias).to(x.dtype)

    def in_stages(self, x: Tensor) -> Tensor:
        """The same of `(B, D, N)`, by means over features of means over time: ONNX Runtime adds up what it
        averages one by one, and of a million values 80 dB are left.
        """
        return (_standardised(x.float()) * self.weight[:, None] + self.bias[:, None]).to(x.dtype)


class SheetNorm(nn.Module):
    """gLN of a sheet `(B, …, D)` of millions of values: the means are taken of one axis after the other,
    which keeps them exact in float32 where a runtime adds up all values at once.

    References:
        Y. Luo and N. Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech
        separation", 2019.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))

    def forward(self, x: Tensor) -> Tensor:
        return (_standardised(x.float()) * self.weight + self.bias).to(x.dtype)


def _standardised(x: Tensor) -> Tensor:
    """Each item `(B, …)` without its mean, at a variance of 1."""
    centred = x - _mean(x)
    return centred * (_mean(centred.square()) + EPS).rsqrt()


def _mean(x: Tensor) -> Tensor:
    """Of each item `(B, …)`: `(B, 1, …)`."""
    for axis in range(x.ndim - 1, 0, -1):
        x = x.mean(axis, keepdim=True)
    return x


class CumulativeLayerNorm(nn.Module):
    """cLN: as gLN, with the mean and variance of the frames so far: `(B, D, N)` → `(B, D, N)`; causal.

    Between calls it keeps means and a count instead of sums, so that nothing grows with the length of a
    stream and float32 is as precise after ten minutes as at the start. All that came before a call counts as
    `HORIZON` frames at most: from there on, older frames fade out. A count without a limit would, some hours
    later, be so large that nothing new moved a mean in float32.

    References:
        Y. Luo and N. Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech
        separation", 2019.
    """

    n_kept = 3  # mean, mean square, frames seen

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_features, 1))
        self.bias = nn.Parameter(torch.zeros(n_features, 1))

    def forward(self, x: Tensor, *past: StreamState) -> Tensor:
        return self._normalised(x, 1, *past)

    def features_last(self, x: Tensor, *past: StreamState) -> Tensor:
        """The same of `(B, N, D)`."""
        return self._normalised(x, 2, *past)

    def _normalised(self, x: Tensor, axis: int, *past: StreamState) -> Tensor:
        wide, time = x.float(), 3 - axis
        means = torch.cat([wide.mean(axis, True), wide.square().mean(axis, True)], axis)  # of each frame
        n_seen = torch.ones_like(means.narrow(axis, 0, 1)).cumsum(time)
        if past:
            before, n_before = past[0].read(self.n_kept).unsqueeze(time).split((2, 1), axis)
            n_seen = n_before + n_seen
            means = before + (means - before).cumsum(time) / n_seen
            past[0].write(torch.cat([means, n_seen.clamp(max=HORIZON)], axis).select(time, -1))
        else:
            means = means.cumsum(time) / n_seen
        mean, power = means.split(1, axis)
        scale = ((power - mean.square()).clamp(min=0) + EPS).rsqrt()
        weight, bias = (values if axis == 1 else values[:, 0] for values in (self.weight, self.bias))
        return ((wide - mean) * scale * weight + bias).to(x.dtype)


class FrameLayerNorm(nn.Module):
    """LN: as gLN, with the mean and variance of each frame alone: `(B, D, N)` → `(B, D, N)`.

    References:
        J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", 2016.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.features_last(x.transpose(1, 2)).transpose(1, 2)

    def features_last(self, x: Tensor) -> Tensor:
        """The same of `(B, N, D)`."""
        return functional.layer_norm(x.float(), self.weight.shape, self.weight, self.bias, EPS).to(x.dtype)


NORMS: dict[str, Callable[[int], GlobalLayerNorm | CumulativeLayerNorm | FrameLayerNorm]] = {
    "gLN": GlobalLayerNorm,
    "LN": FrameLayerNorm,
    "cLN": CumulativeLayerNorm,
}
