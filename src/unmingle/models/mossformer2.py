"""MossFormer2: gated attention in groups and over everything at once, and a memory of convolutions."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts, task_for
from unmingle.layers.filterbank import LearnedFilterbank
from unmingle.layers.norms import GlobalLayerNorm

LONGEST_WAVE = 10_000  # of the positions' sines, over 2π [frames]
N_TURNED = 32  # of a key's values, at most


class MossFormer2(nn.Module):
    """An encoder, masks and a decoder as in Conv-TasNet; the masks come from `n_blocks` of {attention,
    memory}.

    An attention has one head and two kinds of similarity: squared and rectified within groups of
    `group_size` frames, linear over all frames. Both weigh the same two signals, which then gate one another.
    A memory (a feed-forward sequential memory network) has two layers of long dilated convolutions of each
    channel by itself, and is gated too: it does what a recurrent layer does, at all frames at once.

    Differs from the paper: what is behind the last whole frame is silence, as in the authors' program; no
    dropout.

    Args:
        n_src: number of voices.
        sample_rate: [Hz].
        n_filters, kernel_size: of the encoder and the decoder, whose stride is half a filter [samples].
        n_inner: channels of a memory.
        n_keys: length of the attention's keys; of the first 32, pairs are turned by their position.
        group_size: [frames].
        n_memory: half of the memory's filters [frames].
        n_blocks: number of pairs.

    References:
        S. Zhao et al., "MossFormer2: combining transformer and RNN-free recurrent network for enhanced
        time-domain monaural speech separation", 2024.
        W. Hua et al., "Transformer quality in linear time", 2022.
    """

    waves: Tensor
    turns: Tensor

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_filters: int = 512,
        kernel_size: int = 16,
        n_inner: int = 256,
        n_keys: int = 128,
        group_size: int = 256,
        n_memory: int = 20,
        n_blocks: int = 24,
    ) -> None:
        super().__init__()
        if n_filters % 2 or n_keys % 2:
            raise ValueError(f"n_filters ({n_filters}) and n_keys ({n_keys}) must be even")
        self.n_src = n_src
        self.filterbank = LearnedFilterbank(
            n_filters=n_filters,
            kernel_size=kernel_size,
            stride=kernel_size // 2,
            rectified=True,
            padded=False,
        )
        self.norm = GlobalLayerNorm(n_filters)
        self.encode = nn.Conv1d(n_filters, n_filters, 1, bias=False)
        self.position_scale = nn.Parameter(torch.ones(1))
        self.register_buffer("waves", wavenumbers(n_filters), persistent=False)
        self.register_buffer("turns", wavenumbers(min(N_TURNED, n_keys)), persistent=False)
        self.blocks = nn.ModuleList(
            nn.ModuleList([Attention(n_filters, n_keys, group_size), Memory(n_filters, n_inner, n_memory)])
            for _ in range(n_blocks)
        )
        self.norm_last = nn.LayerNorm(n_filters, 1e-6)
        self.norm_all = GlobalLayerNorm(n_filters)
        self.split = nn.Sequential(nn.PReLU(), nn.Conv1d(n_filters, n_src * n_filters, 1))
        self.value = nn.Conv1d(n_filters, n_filters, 1)
        self.gate = nn.Conv1d(n_filters, n_filters, 1)
        self.mask = nn.Conv1d(n_filters, n_filters, 1, bias=False)
        self.facts = Facts(sample_rate=sample_rate, task=task_for(n_src), n_src=n_src)

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        frames = self.filterbank(mixture[:, 0])
        n_batch, n_filters, n_frames = frames.shape
        encoded = self.encode(self.norm.in_stages(frames)).transpose(1, 2)
        place = torch.arange(n_frames, device=frames.device)[:, None]
        waves, turns = place * self.waves, place * self.turns
        x = first = encoded + torch.cat([waves.sin(), waves.cos()], 1) * self.position_scale
        for attention, memory in cast("list[tuple[Attention, Memory]]", self.blocks):
            x = memory(attention(x, turns.cos(), turns.sin()))
        x = self.norm_all.in_stages(self.norm_last(x).transpose(1, 2)) + first.transpose(1, 2)
        voices = self.split(x).reshape(n_batch * self.n_src, n_filters, n_frames)
        masks = self.mask(self.value(voices).tanh() * self.gate(voices).sigmoid()).relu().float()
        separated = masks.reshape(n_batch, self.n_src, n_filters, n_frames) * frames[:, None]
        samples = self.filterbank.inverse(separated.flatten(0, 1), mixture.shape[-1])
        return samples.reshape(n_batch, self.n_src, mixture.shape[-1])


def wavenumbers(size: int) -> Tensor:
    """`(size / 2,)`: by how much each pair of `size` values is turned per frame [radians]."""
    return 1.0 / (LONGEST_WAVE ** (torch.arange(0, size, 2).float() / size))


class Mixed(nn.Sequential):
    """A norm, a linear layer, SiLU, and a convolution of each channel by itself that is added: `(B, N, D)` →
    `(B, N, E)`.
    """

    def __init__(self, norm: nn.Module, n_in: int, n_out: int, kernel_size: int = 17) -> None:
        super().__init__(norm, nn.Linear(n_in, n_out), nn.SiLU())
        self.conv = nn.Conv1d(n_out, n_out, kernel_size, padding="same", groups=n_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        norm, linear, activation, _ = self
        y = activation(linear(norm(x)))
        return y + self.conv(y.transpose(1, 2)).transpose(1, 2)


class ScaleNorm(nn.Module):
    """Over the root mean square of the last axis, times one gain."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        power = x.float().square().mean(-1, keepdim=True)
        return (x / power.clamp(min=1e-10).sqrt() * self.gain).to(x.dtype)


class Attention(nn.Module):
    """`(B, N, D)`, and cosines and sines of the frames' places `(N, turned pairs)` → `(B, N, D)`."""

    def __init__(self, n_features: int, n_keys: int, group_size: int) -> None:
        super().__init__()
        self.group_size = group_size
        self.hidden = Mixed(ScaleNorm(), n_features, 4 * n_features)
        self.keys = Mixed(ScaleNorm(), n_features, n_keys)
        # of the queries in groups, of those over everything, and of both kinds of keys
        self.gains = nn.Parameter(0.02 * torch.randn(4, n_keys))
        self.offsets = nn.Parameter(torch.zeros(4, n_keys))
        self.out = Mixed(ScaleNorm(), 2 * n_features, n_features)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        n_frames = x.shape[1]
        late, now = x.chunk(2, -1)
        late = functional.pad(late, (0, 0, 1, 0))[:, :n_frames]  # half of the channels a frame later
        shifted = torch.cat([late, now], -1)
        both = self.hidden(shifted)
        keys = self.keys(shifted)
        query, query_all, key, key_all = (
            turned_by(cos, sin, keys * gain + offset)
            for gain, offset in zip(self.gains, self.offsets, strict=True)
        )
        attended = self._attended(query, query_all, key, key_all, both)
        v, u = both.chunk(2, -1)
        by_v, by_u = attended.chunk(2, -1)
        return x + self.out(by_u * v * (by_v * u).sigmoid())

    def _attended(
        self, query: Tensor, query_all: Tensor, key: Tensor, key_all: Tensor, values: Tensor
    ) -> Tensor:
        """Means of the values `(B, N, E)`, weighted in groups, and over everything."""
        n_batch, n_frames, n_values = values.shape
        everything = query_all @ (key_all.transpose(1, 2) @ values / n_frames)
        behind = self.group_size - 1 - (n_frames - 1) % self.group_size
        query, key, grouped = (
            functional.pad(part, (0, 0, 0, behind)).reshape(n_batch, -1, self.group_size, part.shape[-1])
            for part in (query, key, values)
        )
        weights = (query @ key.transpose(2, 3) / self.group_size).relu().square()
        in_groups = (weights @ grouped).reshape(n_batch, -1, n_values)
        return in_groups[:, :n_frames] + everything


def turned_by(cos: Tensor, sin: Tensor, keys: Tensor) -> Tensor:
    """Keys `(B, N, K)` whose first pairs of values are turned."""
    n_turned = 2 * cos.shape[1]
    a, b = keys[..., 0:n_turned:2], keys[..., 1:n_turned:2]
    pairs = torch.stack([a * cos - b * sin, b * cos + a * sin], -1)
    return torch.cat([pairs.flatten(-2).to(keys.dtype), keys[..., n_turned:]], -1)


class Memory(nn.Module):
    """A gated feed-forward sequential memory network: `(B, N, D)` → the same."""

    def __init__(self, n_features: int, n_inner: int, n_memory: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.Linear(n_features, n_inner), nn.PReLU(), nn.LayerNorm(n_inner))
        self.gate = Mixed(nn.LayerNorm(n_inner), n_inner, n_inner)
        self.value = Mixed(nn.LayerNorm(n_inner), n_inner, n_inner)
        self.project = nn.Sequential(
            nn.Linear(n_inner, n_inner), nn.ReLU(), nn.Linear(n_inner, n_inner, bias=False)
        )
        self.layers = nn.ModuleList(DilatedLayer(n_inner, n_memory, 2**k, k + 1) for k in range(2))
        self.widen = nn.Sequential(nn.LayerNorm(n_inner), nn.Linear(n_inner, n_features))

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(x)
        value = self.value(y)
        found = skip = self.project(value).transpose(1, 2)
        for layer in self.layers:
            found = layer(skip)
            skip = torch.cat([found, skip], 1)
        return x + self.widen(y + self.gate(y) * (value + found.transpose(1, 2)))


class DilatedLayer(nn.Module):
    """Each output channel of `n_in` neighbouring input channels, normalised over time: `(B, n_in · D, N)` →
    `(B, D, N)`.
    """

    def __init__(self, n_features: int, n_memory: int, dilation: int, n_in: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            n_in * n_features,
            n_features,
            2 * n_memory - 1,
            padding=dilation * (n_memory - 1),
            dilation=dilation,
            groups=n_features,
            bias=False,
        )
        self.gain = nn.Parameter(torch.ones(n_features, 1))
        self.offset = nn.Parameter(torch.zeros(n_features, 1))
        self.activation = nn.PReLU(n_features)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).float()
        centred = y - y.mean(2, keepdim=True)
        power = centred.square().mean(2, keepdim=True)
        normed = centred * (power + 1e-5).rsqrt() * self.gain + self.offset
        return self.activation(normed.to(x.dtype))
