"""Convolutions each of which sees what all before it made."""

import torch
from torch import Tensor, nn


class DenseBlock(nn.Module):
    """Layers of batch norm, ReLU and a 3×3 convolution; each sees the input and the outputs of all layers
    before it: `(B, D, F, N)` → `(B, growth, F, N)`.

    References:
        G. Huang et al., "Densely connected convolutional networks", 2017.
        W. Choi et al., "Investigating U-Nets with various intermediate blocks for spectrogram-based singing
        voice separation", 2020.
    """

    def __init__(self, n_features: int, growth: int = 24, n_layers: int = 4) -> None:
        super().__init__()
        seen = [n_features + layer * growth for layer in range(n_layers)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(n), nn.ReLU(), nn.Conv2d(n, growth, 3, padding=1, bias=False))
            for n in seen
        )

    def forward(self, features: Tensor) -> Tensor:
        seen = features
        for layer in self.layers[:-1]:
            seen = torch.cat([seen, layer(seen)], 1)
        return self.layers[-1](seen)
