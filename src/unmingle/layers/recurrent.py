"""Recurrent layers with a norm before and a projection behind, along time or along frequency."""

import torch
from torch import Tensor, nn

from unmingle.layers.stream_state import StreamState


class Recurrent(nn.Module):
    """Layer norm, BLSTM along the second last axis, back to D features: `(B, rows, N, D)` → same.

    With `n_streams`, the rows of an item (its bands), it is an LSTM instead, and what each row's state
    becomes is kept for the next call.

    Args:
        n_features: D.
        hidden: units of each direction.
        n_streams: number of rows of one that is causal; 0 = both directions.
    """

    def __init__(self, n_features: int, hidden: int, n_streams: int = 0) -> None:
        super().__init__()
        self.kept = (2, n_streams, hidden)
        self.norm = nn.LayerNorm(n_features)
        self.lstm = nn.LSTM(n_features, hidden, batch_first=True, bidirectional=not n_streams)
        self.project = nn.Linear(hidden if n_streams else 2 * hidden, n_features)

    def forward(self, vectors: Tensor, *past: StreamState) -> Tensor:
        flat = self.norm(vectors).flatten(0, 1)
        if past:
            before = past[0].read(*self.kept).transpose(0, 1).flatten(1, 2)[:, None]  # 2 1 (B bands) H
            out, (hidden, cell) = self.lstm(flat, (before[0], before[1]))
            past[0].write(torch.stack([hidden, cell]).reshape(2, -1, *self.kept[1:]).transpose(0, 1))
        else:
            out, _ = self.lstm(flat)
        return self.project(out).reshape(vectors.shape)
