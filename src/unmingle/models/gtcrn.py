"""GTCRN: an enhancer of grouped convolutions and grouped recurrence, for the smallest processors."""

from collections.abc import Sequence
from math import log10

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts
from unmingle.layers.masked_stft import MaskedSTFT
from unmingle.layers.stft import STFT
from unmingle.layers.stream_state import StreamState


class GTCRN(MaskedSTFT):
    """A U-Net over frequency, recurrent where it is narrowest, in which little is connected to much.

    STFT → magnitude, real and imaginary part; the low bins as they are, the high ones as overlapping
    triangles, equally wide on the ERB scale → each point with its two neighbours → two convolutions that
    halve the points → grouped temporal convolutions (`GroupedTemporal`), each looking further back → pairs of
    recurrent layers over points and over time (`DualPath`) → the same convolutions in reverse order, what the
    encoder said at that size added, and two that double the points → complex masks within ±1, spread to the
    bins → inverse STFT. It is causal and streams, a hop at a time.

    Differs from the paper: as the authors' code does, it has no shuffle between the groups of a recurrent
    layer, which the linear layer behind it replaces. Before the first sample there are zeros, as in a stream;
    their script mirrors the first quarter of a window there. The triangles are kept with the weights.

    Args:
        sample_rate: [Hz].
        n_fft, hop: of the STFT [samples].
        n_low: bins that are taken as they are.
        n_points: triangles for the others; `n_low` and they together are 1 more than a multiple of 4.
        channels: features of a point, a multiple of 4.
        dilations: distance of the three frames that each grouped temporal convolution of the encoder sees;
            the decoder has the same, reversed.
        n_blocks: number of pairs of recurrent layers.

    Raises:
        ValueError: points that cannot be halved twice, or channels that cannot be grouped.

    References:
        X. Rong, T. Sun, X. Zhang, Y. Hu, C. Zhu and J. Lu, "GTCRN: a speech enhancement model requiring
        ultralow computational resources", 2024.
    """

    gather: Tensor
    spread: Tensor

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        n_fft: int = 512,
        hop: int = 256,
        n_low: int = 65,
        n_points: int = 64,
        channels: int = 16,
        dilations: Sequence[int] = (1, 2, 5),
        n_blocks: int = 2,
    ) -> None:
        super().__init__()
        if (n_low + n_points) % 4 != 1:
            raise ValueError(
                f"n_low and n_points sum to {n_low + n_points}; it must be 1 more than a multiple of 4"
            )
        if channels % 4:
            raise ValueError(f"channels is {channels}; it must be a multiple of 4 to be grouped")
        self.n_src, self.n_low = 1, n_low
        self.stft = STFT(n_fft=n_fft, hop=hop)
        triangles = erb_triangles(n_points, n_low, self.stft.n_bins, sample_rate)
        self.register_buffer("gather", triangles)
        self.register_buffer("spread", triangles.T.contiguous())
        width = (n_low + n_points - 1) // 4 + 1
        down = [Conv(9, channels), Conv(channels, channels, groups=2)]
        temporal = [GroupedTemporal(channels, width, dilation) for dilation in dilations]
        self.encoder = nn.ModuleList([*down, *temporal])
        self.blocks = nn.ModuleList(DualPath(channels, width) for _ in range(n_blocks))
        temporal = [GroupedTemporal(channels, width, dilation) for dilation in reversed(dilations)]
        up = [Deconv(channels, channels, nn.PReLU(), groups=2), Deconv(channels, 2, nn.Tanh())]
        self.decoder = nn.ModuleList([*temporal, *up])
        state = 2 * (n_fft - hop) + n_blocks * width * channels
        state += 2 * sum(2 * dilation * channels * width + channels for dilation in dilations)
        self.facts = Facts(
            sample_rate=sample_rate,
            task="enhance",
            n_src=1,
            causal=True,
            latency=n_fft - 1,
            hop=hop,
            state=state,
        )

    def estimate(self, samples: Tensor, *past: StreamState) -> Tensor:
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = self.stft(samples.float(), *past)
            bins = spectrum.transpose(2, 3) * self.stft.n_fft**0.5  # B 2 N F, of a transform without a scale
            magnitude = (bins.square().sum(1, keepdim=True) + 1e-12).sqrt()
            bins = torch.cat([magnitude, bins], 1)
            low, high = bins[..., : self.n_low], bins[..., self.n_low :]
            features = torch.cat([low, high @ self.gather.T], -1)
        features, skips = with_neighbours(features), []
        for layer in self.encoder:
            features = layer(features, *past)
            skips.append(features)
        for block in self.blocks:
            features = block(features, *past)
        for layer, skip in zip(self.decoder, reversed(skips), strict=True):
            features = layer(features + skip, *past)
        with torch.autocast(samples.device.type, enabled=False):
            features = features.float()
            low, high = features[..., : self.n_low], features[..., self.n_low :]
            masks = torch.cat([low, high @ self.spread.T], -1)
        return self.masked(masks.transpose(2, 3)[:, None], spectrum, *past)


class Conv(nn.Module):
    """Convolution over 5 points that halves them, batch norm, PReLU: `(B, D, N, P)` → `(B, D', N, (P + 1) /
    2)`.
    """

    def __init__(self, n_in: int, n_out: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, (1, 5), stride=(1, 2), padding=(0, 2), groups=groups)
        self.norm, self.activation = nn.BatchNorm2d(n_out), nn.PReLU()

    def forward(self, features: Tensor, *_: StreamState) -> Tensor:
        return self.activation(self.norm(self.conv(features)))


class Deconv(nn.Module):
    """Its reverse, with another activation: `(B, D, N, P)` → `(B, D', N, 2P − 1)`."""

    def __init__(self, n_in: int, n_out: int, activation: nn.Module, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(n_in, n_out, (1, 5), stride=(1, 2), padding=(0, 2), groups=groups)
        self.norm, self.activation = nn.BatchNorm2d(n_out), activation

    def forward(self, features: Tensor, *_: StreamState) -> Tensor:
        return self.activation(self.norm(self.conv(features)))


class GroupedTemporal(nn.Module):
    """One half of the features, with those of both neighbours, through a convolution of each channel over
    three frames and three points, between two that mix channels, and an attention over frames; the other half
    as it is; then the halves alternate: `(B, D, N, P)` → same.

    Args:
        n_features: D.
        width: P.
        dilation: distance of the frames.
    """

    def __init__(self, n_features: int, width: int, dilation: int) -> None:
        super().__init__()
        half = n_features // 2
        self.kept = (n_features, 2 * dilation, width)
        self.widen = nn.Sequential(nn.Conv2d(3 * half, n_features, 1), nn.BatchNorm2d(n_features), nn.PReLU())
        self.depthwise = nn.Conv2d(
            n_features, n_features, 3, padding=(0, 1), dilation=(dilation, 1), groups=n_features
        )
        self.norm, self.activation = nn.BatchNorm2d(n_features), nn.PReLU()
        self.narrow = nn.Sequential(nn.Conv2d(n_features, half, 1), nn.BatchNorm2d(half))
        self.attention = TemporalAttention(half)

    def forward(self, features: Tensor, *past: StreamState) -> Tensor:
        changed, same = features.chunk(2, 1)
        changed = self.widen(with_neighbours(changed))
        if past:
            changed = torch.cat([past[0].read(*self.kept), changed], 2)
            past[0].write(changed[:, :, changed.shape[2] - self.kept[1] :])
        else:
            changed = functional.pad(changed, (0, 0, self.kept[1], 0))
        changed = self.narrow(self.activation(self.norm(self.depthwise(changed))))
        return torch.stack([self.attention(changed, *past), same], 2).flatten(1, 2)


class TemporalAttention(nn.Module):
    """Every channel of every frame is weighted by what a GRU makes of the channels' energies so far: `(B, D,
    N, P)` → same.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.gru = nn.GRU(n_features, 2 * n_features, batch_first=True)
        self.linear = nn.Linear(2 * n_features, n_features)

    def forward(self, features: Tensor, *past: StreamState) -> Tensor:
        energies = features.square().mean(-1).transpose(1, 2)  # B N D
        if past:
            out, hidden = self.gru(energies, past[0].read(1, self.gru.hidden_size).transpose(0, 1))
            past[0].write(hidden.transpose(0, 1))
        else:
            out, _ = self.gru(energies)
        return features * self.linear(out).sigmoid().transpose(1, 2)[..., None]


class DualPath(nn.Module):
    """Both directions over the points of a frame, then over time at every point; each a grouped GRU, a linear
    layer, a norm of the whole frame, and added to what it got: `(B, D, N, P)` → same.
    """

    def __init__(self, n_features: int, width: int) -> None:
        super().__init__()
        shape = (width, n_features)
        self.points = GroupedGRU(n_features, n_features // 2, bidirectional=True)
        self.points_linear, self.points_norm = (
            nn.Linear(n_features, n_features),
            nn.LayerNorm(shape, eps=1e-8),
        )
        self.time = GroupedGRU(n_features, n_features, n_streams=width)
        self.time_linear, self.time_norm = nn.Linear(n_features, n_features), nn.LayerNorm(shape, eps=1e-8)

    def forward(self, features: Tensor, *past: StreamState) -> Tensor:
        frames = features.permute(0, 2, 3, 1)  # B N P D
        out = self.points_linear(self.points(frames.flatten(0, 1))).reshape(frames.shape)
        frames = frames + self.points_norm(out)
        rows = frames.transpose(1, 2)  # B P N D
        out = self.time_linear(self.time(rows.flatten(0, 1), *past)).reshape(rows.shape).transpose(1, 2)
        return (frames + self.time_norm(out)).permute(0, 3, 1, 2)


class GroupedGRU(nn.Module):
    """Two GRUs, each for one half of the features: `(rows, N, D)` → `(rows, N, D')`.

    Args:
        n_features: D.
        hidden: units of both together, in each direction.
        bidirectional: whether there are two directions.
        n_streams: rows of an item in a stream.
    """

    def __init__(
        self, n_features: int, hidden: int, *, bidirectional: bool = False, n_streams: int = 0
    ) -> None:
        super().__init__()
        self.kept = (n_streams, hidden // 2)
        self.halves = nn.ModuleList(
            nn.GRU(n_features // 2, hidden // 2, batch_first=True, bidirectional=bidirectional)
            for _ in range(2)
        )

    def forward(self, vectors: Tensor, *past: StreamState) -> Tensor:
        outputs = []
        for gru, half in zip(self.halves, vectors.chunk(2, -1), strict=True):
            if past:
                out, hidden = gru(half, past[0].read(*self.kept).flatten(0, 1)[None])
                past[0].write(hidden.reshape(-1, *self.kept))
            else:
                out, _ = gru(half)
            outputs.append(out)
        return torch.cat(outputs, -1)


def with_neighbours(features: Tensor) -> Tensor:
    """Each point's features beside those of the points below and above it, which are zeros at the ends: `(B,
    D, N, P)` → `(B, 3D, N, P)`.
    """
    n_points = features.shape[-1]
    padded = functional.pad(features, (1, 1))
    three = [padded[..., start : start + n_points] for start in range(3)]
    return torch.stack(three, 2).flatten(1, 2)


def erb_triangles(n_points: int, n_low: int, n_bins: int, sample_rate: int) -> Tensor:
    """How much of each bin from `n_low` on belongs to each of the points from there to the last bin, equally
    far apart on the ERB scale: triangles of the height 1 `(points, F − n_low)`, whose columns sum to 1.

    >>> erb_triangles(3, 2, 9, 16_000)
    tensor([[1.0000, 0.5000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000],
            [0.0000, 0.5000, 1.0000, 0.7500, 0.5000, 0.2500, 0.0000],
            [0.0000, 0.0000, 0.0000, 0.2500, 0.5000, 0.7500, 1.0000]])
    """
    top = sample_rate / 2
    low, high = (log10(1 + 0.00437 * edge) for edge in (n_low * top / (n_bins - 1), top))
    places = torch.linspace(low, high, n_points, dtype=torch.float64)
    peaks = ((10**places - 1) / 0.00437 / top * (n_bins - 1)).round()
    bins = torch.arange(n_low, n_bins, dtype=torch.float64)
    above = torch.searchsorted(peaks, bins).clamp(1, n_points - 1)
    share = ((bins - peaks[above - 1]) / (peaks[above] - peaks[above - 1]).clamp(min=1)).clamp(0, 1)
    triangles = torch.zeros(n_points, n_bins - n_low)
    columns = torch.arange(n_bins - n_low)
    triangles[above - 1, columns], triangles[above, columns] = (1 - share).float(), share.float()
    return triangles
