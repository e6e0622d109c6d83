"""Normalisations over channels and time; statistics are float32 whatever the input is."""

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-8


class GlobalLayerNorm(nn.Module):
    """gLN: mean and variance of each item over all its axes, then a gain and an offset per feature.

    Args:
        n_features: size of the feature axis.
        channels_last: features on the last axis, `(B, …, D)`, instead of the second, `(B, D, …)`.

    References:
        Y. Luo and N. Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech separation", 2019.
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


class CumulativeLayerNorm(nn.Module):
    """cLN: as gLN, with the mean and variance of the frames so far: `(B, D, N)` → `(B, D, N)`; causal.

    References:
        Y. Luo and N. Mesgarani, "Conv-TasNet: surpassing ideal time-frequency magnitude masking for speech separation", 2019.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_features, 1))
        self.bias = nn.Parameter(torch.zeros(n_features, 1))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        n_seen = torch.ones_like(wide[:1, :1]).cumsum(-1)
        mean = wide.mean(1, keepdim=True).cumsum(-1) / n_seen
        power = wide.square().mean(1, keepdim=True).cumsum(-1) / n_seen
        scale = ((power - mean.square()).clamp(min=0) + EPS).rsqrt()
        return ((wide - mean) * scale * self.weight + self.bias).to(x.dtype)


NORMS: dict[str, type[nn.Module]] = {"gLN": GlobalLayerNorm, "cLN": CumulativeLayerNorm}
