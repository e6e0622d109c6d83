"""Attention of every element of a sequence to every other, and transformers made of it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-6  # of the norms inside transformers


class Attention(nn.Module):
    """Attention of every frame to every other, with relative positions if given: `(B, N, D)` → the same."""

    def __init__(self, n_features: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query_key_value = nn.Linear(n_features, 3 * n_features)
        self.out = nn.Linear(n_features, n_features)

    def forward(self, x: Tensor, positions: nn.Module | None = None) -> Tensor:
        n_batch, n_frames, n_features = x.shape
        heads = self.query_key_value(x).reshape(
            n_batch, n_frames, 3, self.n_heads, n_features // self.n_heads
        )
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind()  # B H N E each
        scores = query @ key.transpose(-1, -2)
        if positions is not None:
            scores = scores + positions(query)
        weights = (scores / query.shape[-1] ** 0.5).softmax(-1).to(value.dtype)
        return self.out((weights @ value).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Layers of attention and feed-forward, each behind a norm and beside a skip, on a sequence that waves
    mark the positions of; a norm at the end: `(B, N, D)` → the same, for any N.

    Args:
        n_features: D, even and a multiple of `n_heads`.
        n_heads: of the attention.
        hidden: width of the feed-forward layers.
        n_layers: how many there are.

    References:
        A. Vaswani et al., "Attention is all you need", 2017.
    """

    def __init__(self, n_features: int, n_heads: int, hidden: int, n_layers: int) -> None:
        super().__init__()
        if n_features % 2 or n_features % n_heads:
            raise ValueError(f"n_features ({n_features}) must be even and a multiple of n_heads ({n_heads})")
        self.layers = nn.ModuleList(TransformerLayer(n_features, n_heads, hidden) for _ in range(n_layers))
        self.norm = nn.LayerNorm(n_features, EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = x + positional_waves(x.shape[1], x.shape[2], x.device)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class TransformerLayer(nn.Module):
    """Attention, then two linear layers with a ReLU in between: `(B, N, D)` → the same."""

    def __init__(self, n_features: int, n_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_before = nn.LayerNorm(n_features, EPS)
        self.attention = Attention(n_features, n_heads)
        self.norm_between = nn.LayerNorm(n_features, EPS)
        self.widen = nn.Linear(n_features, hidden)
        self.narrow = nn.Linear(hidden, n_features)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_before(x))
        return x + self.narrow(functional.relu(self.widen(self.norm_between(x))))


def positional_waves(n: int, n_features: int, device: torch.device | None = None) -> Tensor:
    """What says where in a sequence a vector is: sines and cosines in turn, of wavelengths from 2π to 2π ×
    10,000 elements, `(n, n_features)`.
    """
    frequencies = 10_000.0 ** (-torch.arange(0, n_features, 2, device=device) / n_features)
    phases = torch.arange(n, device=device)[:, None] * frequencies
    return torch.stack([phases.sin(), phases.cos()], -1).flatten(1)
