"""Convolutions each of which sees what all before it made."""

import torch
from torch import Tensor, nn


class DenseBlock(nn.Module):
    """`n_layers` times batch norm, ReLU, 3 × 3 convolution; each takes the block's input and the outputs of all before it.

    `(B, n_in, F, N)` → `(B, growth, F, N)`: what the last one makes.

    References:
        G. Huang et al., "Densely connected convolutional networks", 2017.
        W. Choi et al., "Investigating U-Nets with various intermediate blocks for spectrogram-based singing voice separation", 2020.
    """

    def __init__(self, n_in: int, *, growth: int = 24, n_layers: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for number in range(n_layers):
            n_seen = n_in + number * growth
            self.layers.append(nn.Sequential(nn.BatchNorm2d(n_seen), nn.ReLU(), nn.Conv2d(n_seen, growth, 3, padding=1)))

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.layers:
            made = layer(features)
            features = torch.cat([features, made], 1)
        return made
