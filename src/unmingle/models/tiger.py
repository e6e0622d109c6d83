"""TIGER: bands of a spectrogram, walked along frequency and along time by one small block again and again."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from unmingle.facts import Facts
from unmingle.layers import crm
from unmingle.layers.centred_stft import CentredSTFT
from unmingle.layers.norms import GlobalLayerNorm

# Number of bands and their width [Hz], from below; what is left above them is one more.
BANDS = ((40, 25), (10, 100), (8, 250), (8, 500))


class TIGER(nn.Module):
    """Time-frequency interleaved gain extraction and reconstruction: under a million parameters, because one
    block is used `n_blocks` times.

    STFT → one normalisation and linear layer per band → `n_blocks` times the same {walk along frequency in
    every frame, walk along time in every band} → one linear layer per band → a complex mask per source →
    inverse STFT. Each walk is a multi-scale selective attention, which is a U of depthwise convolutions, and
    an attention for which everything at a position, all frames or all bands, is one vector. Masks sum to 1,
    so that the sources sum to the mixture.

    Differs from the paper: no dropout; the coarsest scale, which nothing reads in the authors' program, is
    left out; mixtures that are shorter than half a window are mirrored again and again.

    Args:
        n_src: number of voices, at least 2.
        sample_rate: [Hz]; below 16 kHz there are fewer bands.
        n_fft, hop: of the STFT [samples]; with a bin per 25 Hz at least.
        n_features: length of the vector of a band; a multiple of `n_heads` and of `n_src`.
        n_hidden: channels of the convolutions.
        n_levels: scales, each half as fine as the one before, at least 3.
        n_heads: of the attention.
        n_keys: per head, band and frame.
        n_blocks: how often the block is used.

    References:
        M. Xu, K. Li, G. Chen and X. Hu, "TIGER: time-frequency interleaved gain extraction and
        reconstruction for efficient speech separation", 2025.
    """

    whole: Tensor

    def __init__(
        self,
        *,
        n_src: int = 2,
        sample_rate: int = 16_000,
        n_fft: int = 640,
        hop: int = 160,
        n_features: int = 128,
        n_hidden: int = 256,
        n_levels: int = 5,
        n_heads: int = 4,
        n_keys: int = 4,
        n_blocks: int = 8,
    ) -> None:
        super().__init__()
        if n_src < 2 or n_levels < 3 or n_features % n_heads or n_features % n_src:
            raise ValueError(
                f"n_src ({n_src}) must be 2 or more, n_levels ({n_levels}) 3 or more, and n_features "
                f"({n_features}) a multiple of n_src and of n_heads ({n_heads})"
            )
        self.n_src, self.n_levels, self.n_blocks = n_src, n_levels, n_blocks
        self.stft = CentredSTFT(n_fft=n_fft, hop=hop)
        groups = widths(self.stft.n_bins, sample_rate)
        self.n_bands = sum(count for count, _ in groups)
        self.bands = nn.ModuleList(Bands(count, width, n_features, n_src) for count, width in groups)
        sizes = (n_features, n_hidden, n_levels, n_heads, n_keys)
        self.frequency, self.time = Walk(*sizes), Walk(*sizes)
        self.gain = nn.Parameter(torch.ones(n_features))
        self.offset = nn.Parameter(torch.zeros(n_features))
        self.activation = nn.PReLU()
        self.register_buffer("whole", torch.tensor([1.0, 0.0])[:, None, None], persistent=False)
        self.facts = Facts(sample_rate=sample_rate, n_src=n_src)

    def forward(self, mixture: Tensor) -> Tensor:
        """`(B, 1, T)` → `(B, S, T)`."""
        with torch.autocast(mixture.device.type, enabled=False):
            spectrum = self.stft(mixture[:, 0].float())
        all_bands = cast("list[Bands]", list(self.bands))
        parts = spectrum.split([bands.n_bins for bands in all_bands], 2)
        encoded = [bands.encoded(part) for bands, part in zip(all_bands, parts, strict=True)]
        vectors = self.separated(torch.cat(encoded, 1))
        groups = vectors.split([bands.count for bands in all_bands], 1)
        decoded = [bands.decoded(group) for bands, group in zip(all_bands, groups, strict=True)]
        with torch.autocast(mixture.device.type, enabled=False):
            masks = torch.cat(decoded, 3).float()
            masks = masks + (self.whole - masks.sum(1, keepdim=True)) / self.n_src
            estimates = crm.apply(masks, spectrum[:, None])
            samples = self.stft.inverse(estimates.flatten(0, 1), mixture.shape[-1])
        return samples.reshape(mixture.shape[0], self.n_src, mixture.shape[-1])

    def separated(self, vectors: Tensor) -> Tensor:
        """The vectors of all bands and frames `(B, bands, N, D)` → same, each block with the first ones
        added to its input.
        """
        x = vectors
        across, along = (Scales(n, self.n_levels, x.device) for n in (self.n_bands, x.shape[2]))
        for k in range(self.n_blocks):
            if k:
                x = self.activation((vectors + x) * self.gain + self.offset)
            x = x + self.frequency(x.transpose(1, 2), across).transpose(1, 2)
            x = x + self.time(x, along)
        return x


def widths(n_bins: int, sample_rate: int) -> list[tuple[int, int]]:
    """How many bands there are of which width [bins], as many as fit below one more that takes the rest;
    ValueError if a bin is too wide.

    >>> widths(321, 16_000)
    [(40, 1), (10, 4), (8, 10), (8, 20), (1, 1)]
    """
    groups, rest = [], n_bins
    for count, hz in BANDS:
        width = math.floor(hz / (sample_rate / 2) * n_bins)
        if width < 1:
            raise ValueError(
                f"{n_bins} bins at {sample_rate} Hz are too few: its narrowest bands are of 25 Hz"
            )
        count = min(count, (rest - 1) // width)
        rest -= count * width
        if count:
            groups.append((count, width))
    return [*groups, (1, rest)]


class Bands(nn.Module):
    """Neighbouring bands of one width, each with layers of its own."""

    def __init__(self, count: int, width: int, n_features: int, n_src: int) -> None:
        super().__init__()
        self.count, self.width, self.n_bins, self.n_src = count, width, count * width, n_src
        self.norm = nn.GroupNorm(count, 2 * self.n_bins, torch.finfo(torch.float32).eps)
        self.encode = nn.Conv1d(2 * self.n_bins, count * n_features, 1, groups=count)
        self.activation = nn.PReLU(count)
        self.decode = nn.Conv1d(count * n_features, 4 * n_src * self.n_bins, 1, groups=count * n_src)

    def encoded(self, spectrum: Tensor) -> Tensor:
        """Their bins `(B, 2, bands · width, N)` → their vectors `(B, bands, N, D)`."""
        n_batch, _, _, n_frames = spectrum.shape
        bins = spectrum.reshape(n_batch, 2, self.count, self.width, n_frames).transpose(1, 2)
        vectors = self.encode(self.norm(bins.reshape(n_batch, 2 * self.n_bins, n_frames)))
        return vectors.reshape(n_batch, self.count, -1, n_frames).transpose(2, 3)

    def decoded(self, vectors: Tensor) -> Tensor:
        """Their vectors → masks of their bins `(B, S, 2, bands · width, N)`."""
        n_batch, _, n_frames, _ = vectors.shape
        vectors = self.activation(vectors).transpose(2, 3).reshape(n_batch, -1, n_frames)
        both = self.decode(vectors).reshape(n_batch, self.count, 2, 2, self.n_src, self.width, n_frames)
        value, gate = both.unbind(2)
        masks = (value * gate.sigmoid()).permute(0, 3, 2, 1, 4, 5)
        return masks.reshape(n_batch, self.n_src, 2, self.n_bins, n_frames)


class Walk(nn.Module):
    """Along the third axis: `(B, others, L, D)` → same."""

    def __init__(self, n_features: int, n_hidden: int, n_levels: int, n_heads: int, n_keys: int) -> None:
        super().__init__()
        self.scales = MultiScale(n_features, n_hidden, n_levels)
        self.attention = FullAttention(n_features, n_heads, n_keys)
        self.norm = nn.LayerNorm(n_features)

    def forward(self, x: Tensor, scales: "Scales") -> Tensor:
        n_batch, n_others, length, n_features = x.shape
        sequences = x.reshape(n_batch * n_others, length, n_features).transpose(1, 2)
        y = self.scales(sequences, scales).transpose(1, 2).reshape(n_batch, n_others, length, n_features)
        return self.norm(self.attention(y))


class MultiScale(nn.Module):
    """Multi-scale selective attention: `(B, D, L)` → same. What is in a sequence at every scale is averaged
    at the coarsest one, and what comes of that selects at each scale; then from coarse to fine.
    """

    def __init__(self, n_features: int, n_hidden: int, n_levels: int) -> None:
        super().__init__()
        self.widen = nn.Sequential(nn.Conv1d(n_features, n_hidden, 1), GlobalLayerNorm(n_hidden), nn.PReLU())
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(n_hidden, n_hidden, 5, 2 if level else 1, 2, groups=n_hidden),
                GlobalLayerNorm(n_hidden),
            )
            for level in range(n_levels)
        )
        self.everything = nn.Sequential(
            *normalised(n_hidden, n_hidden),
            nn.Conv1d(n_hidden, n_hidden, 5, 1, 2, groups=n_hidden),
            nn.ReLU(),
            *normalised(n_hidden, n_hidden),
        )
        self.select = nn.ModuleList(Selection(n_hidden, 1) for _ in range(n_levels - 1))
        self.up = nn.ModuleList(Selection(n_hidden, 5) for _ in range(n_levels - 1))
        self.narrow = nn.Conv1d(n_hidden, n_features, 1)

    def forward(self, x: Tensor, scales: "Scales") -> Tensor:
        levels = [self.down[0](self.widen(x))]
        for down in self.down[1:]:
            levels.append(down(levels[-1]))
        *finer, coarsest = levels
        means = (level @ matrix for level, matrix in zip(finer, scales.means, strict=True))
        everything = self.everything(sum(means, coarsest))
        selected = [
            select(level, everything, places)
            for select, level, places in zip(self.select, finer, scales.from_coarsest, strict=True)
        ]
        # The coarsest one that is left is joined with the one above it, as in the authors' program.
        y = selected[-2]
        for up, level, places in reversed(list(zip(self.up, selected, scales.from_next, strict=True))):
            y = up(level, y, places)
        return x + self.narrow(y)


class Selection(nn.Module):
    """What is fine `(B, H, L)`, weighed by what is coarse `(B, H, M)`, and the coarse one added → `(B, H,
    L)`; `places` are those in the coarse one `(L,)`.
    """

    def __init__(self, n_hidden: int, kernel_size: int) -> None:
        super().__init__()
        self.fine, self.coarse, self.weight = (
            nn.Sequential(*normalised(n_hidden, n_hidden, kernel_size, n_hidden)) for _ in range(3)
        )

    def forward(self, fine: Tensor, coarse: Tensor, places: Tensor) -> Tensor:
        weight = self.weight(coarse).sigmoid()[..., places]
        return self.fine(fine) * weight + self.coarse(coarse)[..., places]


def normalised(n_in: int, n_out: int, kernel_size: int = 1, groups: int = 1) -> Sequence[nn.Module]:
    """A convolution without a bias, and gLN."""
    padding = kernel_size // 2
    conv = nn.Conv1d(n_in, n_out, kernel_size, padding=padding, groups=groups, bias=False)
    return conv, GlobalLayerNorm(n_out)


class FullAttention(nn.Module):
    """Full-frequency-frame attention along the third axis: `(B, others, L, D)` → same. What all others are at
    a position is one vector.
    """

    def __init__(self, n_features: int, n_heads: int, n_keys: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = Projection(n_features, n_heads, n_keys)
        self.key = Projection(n_features, n_heads, n_keys)
        self.value = Projection(n_features, n_heads, n_features // n_heads)
        self.project = Projection(n_features, 1, n_features)

    def forward(self, x: Tensor) -> Tensor:
        n_batch, n_others, length, n_features = x.shape
        query, key, value = (  # (B, heads, L, others · E)
            projection(x).permute(0, 3, 2, 1, 4).flatten(3)
            for projection in (self.query, self.key, self.value)
        )
        y = functional.scaled_dot_product_attention(query, key, value)
        y = y.reshape(n_batch, self.n_heads, length, n_others, -1).permute(0, 3, 2, 1, 4)
        return x + self.project(y.reshape(n_batch, n_others, length, n_features))[..., 0, :]


class Projection(nn.Module):
    """A linear layer per head, PReLU, and a layer norm: `(…, D)` → `(…, heads, E)`."""

    def __init__(self, n_features: int, n_heads: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_heads * size)
        self.slopes = nn.Parameter(torch.full((n_heads,), 0.25))
        self.gain = nn.Parameter(torch.ones(n_heads, size))
        self.bias = nn.Parameter(torch.zeros(n_heads, size))

    def forward(self, x: Tensor) -> Tensor:
        heads = self.linear(x).reshape(*x.shape[:-1], *self.gain.shape)
        heads = heads.relu() - self.slopes[:, None] * (-heads).relu()
        return functional.layer_norm(heads, self.gain.shape[1:]) * self.gain + self.bias


class Scales:
    """How a sequence of `length` is averaged and stretched between the scales, which is the same in all
    blocks.

    Attributes:
        means: for each scale but the coarsest, the matrix that averages it to the coarsest one's length.
        from_coarsest: for each of them, which of the coarsest one's places is nearest to each of its own.
        from_next: the same, of the next coarser one's; of the one before the coarsest, of the next finer
            one's.
    """

    def __init__(self, length: int, n_levels: int, device: torch.device) -> None:
        lengths = [length]
        for _ in range(n_levels - 1):
            lengths.append((lengths[-1] + 1) // 2)
        places = [torch.arange(n, device=device) for n in lengths]
        finer = range(n_levels - 1)
        self.means = [averaging(places[k], lengths[k], places[-1], lengths[-1]) for k in finer]
        self.from_coarsest = [nearest(places[k], lengths[k], lengths[-1]) for k in finer]
        others = [*lengths[1:-1], lengths[-3]]
        self.from_next = [nearest(places[k], lengths[k], others[k]) for k in finer]


def averaging(place: Tensor, n: int, coarse: Tensor, n_coarse: int) -> Tensor:
    """`(n, n_coarse)`: a matrix that averages neighbours as `adaptive_avg_pool1d` does, for any length in an
    export.

    >>> averaging(torch.arange(5), 5, torch.arange(2), 2).T
    tensor([[0.3333, 0.3333, 0.3333, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.3333, 0.3333, 0.3333]])
    """
    first = torch.div(coarse * n, n_coarse, rounding_mode="trunc")
    behind = torch.div((coarse + 1) * n + n_coarse - 1, n_coarse, rounding_mode="trunc")
    inside = (place[:, None] >= first) & (place[:, None] < behind)
    return inside.float() / (behind - first)


def nearest(place: Tensor, n: int, n_others: int) -> Tensor:
    """`(n,)`: which of `n_others` places is nearest to each of n, as `interpolate` has it, for any length in
    an export: `⌊place · n_others / n⌋`.

    `interpolate` multiplies in float32, where what should be a whole number is sometimes just below it. Only
    those few are looked up in floating point, which a runtime may compute in bfloat16.

    >>> nearest(torch.arange(5), 5, 2)
    tensor([0, 0, 0, 1, 1])
    """
    product = place * n_others
    whole = torch.div(product, n, rounding_mode="trunc")
    below = (product == whole * n) & (place * (n_others / n) < whole)
    return whole - below.long()
